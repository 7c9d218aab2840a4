"""Runs over folders that are killed, resumed, divided, or get in each other's way: always the same table."""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest

from monai_brain.cli import main
from monai_brain.inference import apply
from monai_brain.inference.classification import Classification
from monai_brain.inference.merging import merge_parts
from monai_brain.io.lock import FolderLock
from tests.bundles.running import cause, table
from tests.conftest import REPOSITORY, draw_phantom, read

pytestmark = pytest.mark.slow

predict_folder = partial(apply.predict_folder, workers=0, batch_size=8)
COUNT = 45


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Slices of which two are alike and one is broken, and a sidecar."""
    folder = tmp_path_factory.mktemp("many") / "scans"
    folder.mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"{number:03d}.png"), draw_phantom(number % 4, number))
    shutil.copy(folder / "003.png", folder / "031.png")
    (folder / "020.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture(scope="module")
def whole(many, trained, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "out"
    assert predict_folder(many, output, weights=str(trained), explain=True) == 3
    return output


def message(function, *words, **options):
    with pytest.raises(RuntimeError) as caught:
        function(*words, **options)
    return str(cause(caught.value))


@pytest.mark.bad_input(20)
def test_same_content_is_noted_at_the_later_one(whole):
    rows = table(whole)
    assert len(rows) == COUNT + 1
    assert "same_content_as_before" in rows["031.png"]["warnings"]
    assert "same_content_as_before" not in rows["003.png"]["warnings"]
    assert rows["031.png"]["prob_glioma"] == rows["003.png"]["prob_glioma"]
    assert read(whole / "run.json")["counts"]["warning"] == {"same_content_as_before": 1}


@pytest.mark.bad_input(65)
@pytest.mark.parametrize(
    ("sign", "status"),
    [
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.bad_input(67)),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.bad_input(66)),
    ],
)
def test_run_that_was_killed_goes_on_to_the_same_table(whole, many, trained, tmp_path, sign, status):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "monai_brain", "predict", str(many), "-o", str(output), "--weights", str(trained)]
    command += ["--explain", "--batch-size", "8", "--workers", "0"]
    journal = output / "predictions.jsonl"
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") >= 9):
        time.sleep(0.002)
    process.send_signal(sign)
    assert process.wait() == status
    assert (output / ".lock").is_file()
    lines = journal.read_bytes()
    journal.write_bytes(lines[:-20])  # as if the last line was being written
    assert not (output / "predictions.csv").exists()
    assert predict_folder(many, output, weights=str(trained), explain=True) == 3
    assert (output / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert read(output / "run.json")["this_session"]["cases"] < COUNT - 5, "what was done is not done again"
    names = [sorted(path.name for path in (folder / "overlays").iterdir()) for folder in (whole, output)]
    assert names[0] == names[1]


def test_resumed_run_does_changed_files_again_and_only_these(many, trained, tmp_path):
    scans, output = tmp_path / "scans", tmp_path / "out"
    shutil.copytree(many, scans)
    assert predict_folder(scans, output, weights=str(trained), explain=True) == 3
    first = table(output)
    cv2.imwrite(str(scans / "005.png"), draw_phantom(2, 500))
    (scans / "006.png").write_bytes(b"")
    assert predict_folder(scans, output, weights=str(trained), explain=True, resume=True) == 3
    rows = table(output)
    assert read(output / "run.json")["this_session"]["cases"] == 2
    assert rows["005.png"]["prob_glioma"] != first["005.png"]["prob_glioma"]
    assert rows["006.png"]["code"] == "empty_file"
    assert not (output / first["006.png"]["overlay"]).exists(), "the overlay of what the file was"
    assert {**rows, "005.png": 0, "006.png": 0} == {**first, "005.png": 0, "006.png": 0}


@pytest.mark.parametrize("name", ["masks", "overlays", "predictions.csv", "run.json"])
def test_files_that_no_run_made_are_never_replaced(many, trained, tmp_path, name):
    output = tmp_path / "out"
    own = output / name / "by_hand.png" if "." not in name else output / name
    own.parent.mkdir(parents=True)
    own.write_text('{"kind": "training"}')
    bundle = REPOSITORY / "bundles" / ("brain_tumor_segmentation" if name == "masks" else "brain_tumor_classification")
    for overwrite in (False, True):
        words = message(predict_folder, many, output, bundle=bundle, weights=str(trained), overwrite=overwrite)
        assert name in words
        assert "another folder" in words
    assert own.read_text() == '{"kind": "training"}'


def exit_status(monkeypatch, *words):
    """Of the command line, in this process."""
    monkeypatch.setattr("sys.argv", ["monai-brain", *map(str, words)])
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("signal.signal", lambda *_: None)
        main()
    return ended.value.code


@pytest.mark.bad_input(62)
@pytest.mark.parametrize("full_at", ["run.json", "017.png.png", "predictions.csv", "report.html"])
def test_full_disk_is_exit_5_without_half_a_file_and_the_run_goes_on(
    whole, many, trained, tmp_path, monkeypatch, capsys, full_at
):
    output = tmp_path / "out"
    words = ["predict", many, "-o", output, "--weights", trained, "--explain", "--batch-size", 8, "--workers", 0]
    replace = os.replace

    def full(source, target):
        if Path(target).name == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        assert exit_status(patch, *words) == 5
    said = capsys.readouterr().err
    assert "No space left" in said
    assert "Traceback" not in said
    assert not (output / full_at).exists()
    assert not list(output.rglob("*.part"))
    assert all(cv2.imread(str(path)) is not None for path in output.rglob("*.png"))
    assert exit_status(monkeypatch, *words) == 3
    assert (output / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


@pytest.mark.bad_input(62)
@pytest.mark.parametrize("at", [3, COUNT - 2], ids=["while a batch is computed", "after the last one"])
def test_disk_that_fills_up_beside_the_network_ends_the_run_and_the_next_goes_on(
    whole, many, trained, tmp_path, monkeypatch, at
):
    words = ["predict", many, "-o", tmp_path / "out", "--weights", trained, "--batch-size", 8, "--workers", 0]
    encode, count = cv2.imencode, itertools.count()

    def full(*picture):
        if next(count) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return encode(*picture)

    with monkeypatch.context() as patch:
        patch.setattr("cv2.imencode", full)
        assert exit_status(patch, *words) == 5
    assert next(count) > at, "it was asked"
    assert exit_status(monkeypatch, *words) == 3
    labels = [{path: row["label"] for path, row in table(folder).items()} for folder in (tmp_path / "out", whole)]
    assert labels[0] == labels[1]


def test_network_computes_nothing_else_while_it_is_asked_again(many, trained, tmp_path, monkeypatch):
    keep, batches = Classification.keep, []

    def slowly(task, engine, output, cases):
        time.sleep(0.2)
        batches.append(engine.state.iteration)
        return keep(task, engine, output, cases)

    monkeypatch.setattr(Classification, "keep", slowly)
    predict_folder(many, tmp_path / "out", weights=str(trained), explain=True)
    assert len(batches) > 1
    assert batches == list(range(1, len(batches) + 1))


@pytest.mark.bad_input(63)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS], ids=["no permission", "read-only file system"])
def test_output_that_cannot_be_written_to_is_exit_2(many, trained, tmp_path, monkeypatch, capsys, number):
    (tmp_path / "out").mkdir()
    path_open = Path.open

    def refuse(path, mode="r", *words, **options):
        if path.is_relative_to(tmp_path / "out") and mode != "r":  # root may write anywhere
            raise OSError(number, os.strerror(number), str(path))
        return path_open(path, mode, *words, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert exit_status(monkeypatch, "predict", many, "-o", tmp_path / "out", "--weights", trained) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'out'}: cannot be written to" in said
    assert said.count("\n") == 1
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.bad_input(69)
def test_clock_that_is_set_back_makes_nothing_negative(whole, many, trained, tmp_path, monkeypatch):
    clock, now = itertools.count(), time.time()
    monkeypatch.setattr("time.time", lambda: now - 3600 * next(clock))
    assert predict_folder(many, tmp_path / "out", weights=str(trained), explain=True) == 3
    assert next(clock) > 1, "somebody asked"
    session = read(tmp_path / "out" / "run.json")["this_session"]
    times = [session["seconds"], session["cases_per_second"]]
    times += [*session["seconds_of_this_process"].values(), *session["seconds_beside_the_network"].values()]
    assert min(times) >= 0
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


def test_parts_make_the_table_of_the_whole(whole, many, trained, tmp_path):
    for number in (1, 2, 3):
        predict_folder(many, tmp_path / "out", weights=str(trained), explain=True, part=f"{number}/3")
        if number == 2:
            with pytest.raises(ValueError, match=r"missing \[3\]"):
                merge_parts(tmp_path / "out")
    counts = merge_parts(tmp_path / "out")
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert counts == read(whole / "run.json")["counts"]
    assert all(
        (tmp_path / "out" / row["overlay"]).is_file() for row in table(tmp_path / "out").values() if row["overlay"]
    )


@pytest.mark.parametrize("part", ["0/3", "4/3", "half"])
def test_parts_that_make_no_sense_are_refused(many, trained, tmp_path, part):
    assert "expected one such as 2/4" in message(
        predict_folder, many, tmp_path / "out", weights=str(trained), part=part
    )


@pytest.mark.bad_input(64)
def test_second_run_in_a_folder_is_refused_while_the_first_works(many, trained, tmp_path):
    (tmp_path / "out").mkdir()
    lock = FolderLock(tmp_path / "out")
    lock.acquire()
    assert "another run is using this folder" in message(predict_folder, many, tmp_path / "out", weights=str(trained))
    lock.release()
    assert predict_folder(many, tmp_path / "out", weights=str(trained)) == 3


def test_other_options_are_not_mixed_into_one_table(many, trained, tmp_path):
    output = tmp_path / "out"
    predict_folder(many, output, weights=str(trained))
    (output / "predictions.csv").unlink()
    manifest = read(output / "run.json")
    del manifest["counts"]
    (output / "run.json").write_text(
        str(manifest).replace("'", '"').replace("None", "null").replace("False", "false").replace("True", "true")
    )
    assert "another explain" in message(predict_folder, many, output, weights=str(trained), explain=True)
    assert predict_folder(many, output, weights=str(trained)) == 3


def test_files_that_came_since_are_added_on_request(many, trained, tmp_path):
    scans = tmp_path / "scans"
    shutil.copytree(many, scans)
    output = tmp_path / "out"
    predict_folder(scans, output, weights=str(trained))
    before = table(output)
    cv2.imwrite(str(scans / "0000.png"), draw_phantom(1, 99))
    assert "--resume" in message(predict_folder, scans, output, weights=str(trained))
    assert predict_folder(scans, output, weights=str(trained), resume=True) == 3
    after = table(output)
    assert read(output / "run.json")["this_session"]["cases"] == 1
    assert after.pop("0000.png")["status"] == "ok"
    assert after == before


@pytest.mark.parametrize(("engine", "precision"), [("onnx", "fp32"), ("openvino", "fp32")])
def test_engines_give_the_table_of_torch(whole, many, trained, tmp_path, monkeypatch, engine, precision):
    monkeypatch.setenv("MONAI_BRAIN_CACHE", str(tmp_path / "cache"))
    options = {"weights": str(trained), "engine": engine, "precision": precision}
    assert predict_folder(many, tmp_path / "out", **options) == 3
    expected, found = table(whole), table(tmp_path / "out")
    for path, row in found.items():
        assert (row["status"], row["code"], row["label"]) == tuple(
            expected[path][k] for k in ("status", "code", "label")
        )
        if row["status"] == "ok":
            assert float(row["prob_glioma"]) == pytest.approx(float(expected[path]["prob_glioma"]), abs=1e-4)


def test_auto_engine_is_chosen_once_and_recorded(many, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("MONAI_BRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("monai_brain.inference.engines.auto.FEWEST_SLICES", 1)
    monkeypatch.setattr("monai_brain.inference.engines.auto.TIMES_WORTH_BUILDING", 0)
    rate = "monai_brain.inference.engines.auto._rate"
    options = {"weights": str(trained), "engine": "auto", "output_dir": tmp_path / "out"}
    monkeypatch.setattr(rate, lambda engine, network, slices: {"torch": 1.0, "onnx": 3.0, "openvino": 2.0}[engine.name])
    assert predict_folder(many, **options) == 3
    first = read(tmp_path / "out" / "run.json")
    assert first["options"]["chosen_engine"] == "onnx fp32"
    assert first["engine_trial"] == {"torch fp32": 1.0, "onnx fp32": 3.0, "openvino fp32": 2.0}
    expected = table(tmp_path / "out")
    journal = tmp_path / "out" / "predictions.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:10]))
    monkeypatch.setattr(rate, lambda engine, network, slices: {"torch": 9.0, "onnx": 3.0, "openvino": 2.0}[engine.name])
    assert predict_folder(many, **options, resume=True) == 3
    assert read(tmp_path / "out" / "run.json")["options"]["chosen_engine"] == "onnx fp32"
    assert table(tmp_path / "out") == expected


def test_auto_engine_gives_the_table_of_torch_where_there_is_little_to_do(many, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("MONAI_BRAIN_CACHE", str(tmp_path / "cache"))
    for engine in (None, "torch"):
        assert predict_folder(many, tmp_path / str(engine), weights=str(trained), engine=engine) == 3
    assert table(tmp_path / "None") == table(tmp_path / "torch")
    assert read(tmp_path / "None" / "run.json")["options"]["chosen_engine"] == "torch fp32"
    assert not (tmp_path / "cache").exists()


def test_auto_engine_gives_the_labels_of_torch_in_large_folders(many, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("MONAI_BRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("monai_brain.inference.engines.auto.FEWEST_SLICES", 1)
    monkeypatch.setattr("monai_brain.inference.engines.auto.TIMES_WORTH_BUILDING", 0)
    rates = {"torch": 1.0, "onnx": 2.0, "openvino": 3.0}
    monkeypatch.setattr("monai_brain.inference.engines.auto._rate", lambda engine, *_: rates[engine.name])
    for engine in (None, "torch"):
        assert predict_folder(many, tmp_path / str(engine), weights=str(trained), engine=engine) == 3
    assert read(tmp_path / "None" / "run.json")["options"]["chosen_engine"] == "openvino fp32"
    found, expected = table(tmp_path / "None"), table(tmp_path / "torch")
    assert {path: row["label"] for path, row in found.items()} == {path: row["label"] for path, row in expected.items()}


def test_large_folder_without_a_readable_file_gets_its_rows(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("monai_brain.inference.engines.auto.FEWEST_SLICES", 1)
    (tmp_path / "scans").mkdir()
    for number in range(3):
        (tmp_path / "scans" / f"{number}.png").write_bytes(b"no image")
    assert predict_folder(tmp_path / "scans", tmp_path / "out", weights=str(trained)) == 3
    assert [row["status"] for row in table(tmp_path / "out").values()] == ["error"] * 3


def test_pages_show_failures_and_the_least_certain_with_pictures(many, trained, tmp_path):
    output = tmp_path / "out"
    predict_folder(many, output, weights=str(trained), review=True, cases_on_page=5)
    rows = [row for row in table(output).values() if row["status"] == "ok"]
    certainty = {row["path"]: float(row[f"prob_{row['label']}"]) for row in rows}
    least = sorted(certainty, key=certainty.get)[:5]
    assert sorted(path.name for path in (output / "thumbnails").iterdir()) == sorted(f"{name}.jpg" for name in least)
    page = (output / "report.html").read_text()
    assert all(f'<td class="path">{name}</td>' in page for name in [*least, "020.png", "notes.txt"])
    assert page.count('<td class="path">') == 7
    assert "7 of 46 files" in page
    assert f"The 5 least certain of {len(rows)} results" in (output / "review.html").read_text()


def test_session_says_where_its_time_went(whole):
    session = read(whole / "run.json")["this_session"]
    own, beside = session["seconds_of_this_process"], session["seconds_beside_the_network"]
    assert own["network"] > 0
    assert min(beside["reading"], beside["results"]) > 0
    assert sum(own.values()) <= session["seconds"] + 0.05


def test_divided_run_has_the_pages_too(many, trained, tmp_path):
    for part in ("1/2", "2/2"):
        predict_folder(many, tmp_path / "out", weights=str(trained), review=True, part=part)
    merge_parts(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("thumbnails/") == 2 * (COUNT - 1)  # a picture that is a link to itself
    assert (tmp_path / "out" / "review.html").is_file()


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"glob": "00*.png"}, [f"{number:03d}.png" for number in range(10)]), ({"recursive": False, "glob": "*.txt"}, [])],
)
def test_pattern_limits_the_rows_and_belongs_to_the_run(many, trained, tmp_path, options, expected):
    output = tmp_path / "out"
    status = predict_folder(many, output, weights=str(trained), **options)
    assert status == (0 if expected else 2)
    assert [path for path, row in table(output).items() if row["status"] == "ok"] == expected
    assert "another glob" in message(predict_folder, many, output, weights=str(trained), resume=True)


def test_asked_slices_of_volumes_are_taken_and_a_range_beyond_one_is_its_error(trained, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for name, depth in (("long", 12), ("short", 5)):
        volume = np.stack([draw_phantom(0, number) for number in range(depth)], axis=-1).astype(np.float32)
        nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1, 5, 1])), scans / f"{name}.nii.gz")
    cv2.imwrite(str(scans / "slice.png"), draw_phantom(1, 1))
    assert predict_folder(scans, tmp_path / "out", weights=str(trained), slices="4:8", workers=1) == 3
    rows = table(tmp_path / "out")
    assert (rows["long.nii.gz"]["status"], rows["long.nii.gz"]["slices"]) == ("ok", "4")
    assert rows["long.nii.gz"]["deciding_slice"] in {"4", "5", "6", "7"}
    assert (rows["short.nii.gz"]["status"], rows["short.nii.gz"]["code"]) == ("error", "slices_out_of_range")
    assert rows["slice.png"]["status"] == "ok"
    refusal = message(predict_folder, scans, tmp_path / "out", weights=str(trained), slices="1:2", resume=True)
    assert "another slices" in refusal
    assert "expected a range" in message(predict_folder, scans, tmp_path / "o", weights=str(trained), slices="8:4")


@pytest.mark.bad_input(75)
def test_75_folder_named_as_a_picture_costs_nothing(trained, tmp_path):
    picture = tmp_path / "scans" / "a.jpg" / "b.jpg"
    picture.parent.mkdir(parents=True)
    cv2.imwrite(str(picture), draw_phantom(0, 0))
    assert predict_folder(tmp_path / "scans", tmp_path / "out", weights=str(trained)) == 0
    assert table(tmp_path / "out")["a.jpg/b.jpg"]["status"] == "ok"
    assert "b.jpg" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.bad_input(75)
def test_75_file_in_the_way_of_an_overlay_costs_one_row(trained, tmp_path):
    for name in ("x", "x.png/y"):  # the overlay of the one is the folder of the other's
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scans" / name).write_bytes(cv2.imencode(".png", draw_phantom(0, len(name)))[1].tobytes())
    status = predict_folder(tmp_path / "scans", tmp_path / "out", weights=str(trained), explain=True)
    rows = table(tmp_path / "out")
    assert sorted(row["code"] for row in rows.values() if row["status"] != "skipped") in (["", ""], ["", "not_written"])
    assert status == (3 if any(row["code"] == "not_written" for row in rows.values()) else 0)


@pytest.mark.bad_input(76)
def test_76_page_that_cannot_be_written_leaves_the_table_and_is_said(trained, many, tmp_path, monkeypatch, capsys):
    def fail(*words, **options):
        raise PermissionError(errno.EACCES, "no permission", "report.html")

    monkeypatch.setattr("monai_brain.inference.folder.write_pages", fail)
    assert predict_folder(many, tmp_path / "out", weights=str(trained)) == 3
    assert len(table(tmp_path / "out")) == COUNT + 1
    (problem,) = read(tmp_path / "out" / "run.json")["counts"]["problems"]
    assert "the pages could not be written" in problem
    assert "The table is complete, but" in capsys.readouterr().err
