"""Faults of a folder run: nothing hangs, nothing ends in a traceback, and a table is there or can be completed.

scripts/soaks/faults.py tries more of them, with disks that are really full.
"""

import errno
import itertools
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from monai_brain.inference.classification import Classification
from monai_brain.inference.journal import Journal
from monai_brain.io import read_case
from tests.bundles.running import CONFIGS, SMALL, table
from tests.bundles.test_folder_runs import exit_status
from tests.conftest import REPOSITORY, draw_phantom

pytestmark = pytest.mark.slow

COUNT = 24


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"{number:03d}.png"), draw_phantom(number % 4, number))
    return folder


@pytest.fixture
def words(scans, trained, tmp_path):
    return ["predict", scans, "-o", tmp_path / "out", "--weights", trained, "--batch-size", 8, "--workers", 0]


def process(*words, limits=None, **how):
    """A command as users call it, with limits of the system: by `resource`'s number."""

    def limit():
        for number, value in (limits or {}).items():
            resource.setrlimit(number, (value, value))

    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=200, preexec_fn=limit, **how
    )


def after(monkeypatch, batches, happens):
    """Let something happen when so many batches were computed."""
    keep, seen = Classification.keep, []

    def kept(task, *words):
        seen.append(1)
        if len(seen) == batches:
            happens()
        return keep(task, *words)

    monkeypatch.setattr(Classification, "keep", kept)


@pytest.mark.bad_input(62)
def test_limit_on_the_size_of_files_is_a_full_disk(words, tmp_path):
    done = process("monai_brain", *words, limits={resource.RLIMIT_FSIZE: 3000})
    assert done.returncode == 5, done.stderr
    assert "File too large: '" in done.stderr
    assert "run the command again to continue" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "predictions.csv").exists()
    assert not list((tmp_path / "out").rglob(".writing-*"))


@pytest.mark.bad_input(62)
def test_full_temporary_folder_is_exit_5_and_names_it(words, scans, tmp_path):
    cv2.imwrite(str(tmp_path / "noise.png"), np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8))
    with zipfile.ZipFile(scans / "scans.zip", "w") as archive:
        archive.write(tmp_path / "noise.png", "noise.png")
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    done = process("monai_brain", *words, limits={resource.RLIMIT_FSIZE: 100_000}, env=environment)
    assert done.returncode == 5, done.stderr
    assert f"File too large: '{tmp_path / 'temporary'}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.bad_input(62)
def test_full_disk_while_a_checkpoint_is_written_is_exit_5(data, tmp_path):
    files = [str(CONFIGS / "train.yaml"), str(CONFIGS / "networks" / "cnn.yaml")]
    options = {**data, **SMALL, "max_epochs": 1, "output_dir": tmp_path / "run"}
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    words = ["monai.bundle", "run", "training", "--config_file", files, *given]
    done = process(*words, limits={resource.RLIMIT_FSIZE: 200_000})
    assert done.returncode == 5, done.stderr
    assert f"File too large: '{tmp_path / 'run'}" in done.stderr
    assert "--resume true" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run").rglob(".writing-*"))


@pytest.mark.bad_input(9, 18)
def test_run_under_narrow_limits_among_special_files_gives_a_private_table(words, scans, tmp_path):
    os.mkfifo(scans / "pipe.png")
    with socket.socket(socket.AF_UNIX) as bound, pytest.MonkeyPatch.context() as patch:
        patch.chdir(scans)  # a socket's path is short
        bound.bind("socket.png")
    (scans / "000.png").rename(scans / f"{'ü' * 125}x.png")
    words[words.index("--workers") + 1] = 1
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = process("monai_brain", *words, limits={resource.RLIMIT_NOFILE: 64}, env=environment, umask=0o077)
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path / "out")
    assert [row["code"] for row in rows.values() if row["status"] == "skipped"] == ["special_file"] * 2
    assert sum(row["status"] == "ok" for row in rows.values()) == COUNT
    assert not [path for path in (tmp_path / "out").rglob("*") if path.stat().st_mode & 0o077]


def test_output_that_is_removed_while_the_run_works_ends_it_at_once(words, tmp_path, monkeypatch, capsys):
    after(monkeypatch, 2, lambda: shutil.rmtree(tmp_path / "out"))
    assert exit_status(monkeypatch, *words) == 5
    said = capsys.readouterr().err
    assert f"{tmp_path / 'out'}: was removed during the run" in said
    assert "Traceback" not in said


@pytest.mark.bad_input(63)
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ESTALE])
def test_output_that_is_closed_while_the_run_works_is_exit_5_and_the_run_goes_on(
    words, tmp_path, monkeypatch, capsys, number
):
    add, calls = Journal.add, []

    def closed(journal, rows):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(number, os.strerror(number))
        add(journal, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", closed)
        assert exit_status(patch, *words) == 5
    assert f"can no longer be written to ({os.strerror(number)})" in capsys.readouterr().err
    assert exit_status(monkeypatch, *words) == 0
    assert len(table(tmp_path / "out")) == COUNT


@pytest.mark.bad_input(21, 22)
def test_input_that_grows_and_vanishes_while_the_run_works_has_its_rows(words, scans, tmp_path, monkeypatch):
    def change():
        for path in sorted(scans.iterdir())[COUNT // 2 :]:
            shutil.copy(path, path.with_name(f"new_{path.name}"))
            path.unlink()

    calls = itertools.count()

    def read(case):
        if next(calls) == 3:
            change()
        return read_case(case)

    monkeypatch.setattr("monai_brain.inference.preparation.read_case", read)
    assert exit_status(monkeypatch, *words) == 3
    rows = table(tmp_path / "out")
    assert len(rows) == COUNT
    assert {row["code"] for row in rows.values() if row["status"] == "error"} == {"vanished"}


def test_user_without_a_name_can_run(words, monkeypatch):
    def nameless():
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setenv("USER", "")
    assert exit_status(monkeypatch, *words) == 0
    assert os.environ["USER"] == str(os.getuid())


def test_what_a_killed_run_was_writing_is_removed_by_the_next(words, tmp_path, monkeypatch):
    assert exit_status(monkeypatch, *words) == 0
    (tmp_path / "out" / "thumbnails" / ".writing-0123.part").write_bytes(b"half")
    assert exit_status(monkeypatch, *words, "--resume") == 0
    assert not list((tmp_path / "out").rglob(".writing-*"))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signal_before_there_is_a_table_has_its_exit_code_and_a_line(words, monkeypatch, capsys, name):
    after(monkeypatch, 1, lambda: signal.raise_signal(signal.Signals[name]))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr("sys.argv", ["monai-brain", *map(str, words)])
    from monai_brain.cli import main

    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.value.code == 128 + signal.Signals[name]
    assert f"stopped ({name})" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_folder_that_is_a_device_is_refused(words, monkeypatch, capsys):
    words[1] = Path("/dev/full")
    assert exit_status(monkeypatch, *words) == 2
    assert "give the folder that holds the scans" in capsys.readouterr().err
