"""What a folder run makes of trouble: full disks, signals, files and rights that change, odd users and limits.

One function for each fault; `soaks.fault_runs` says what is expected of all.
"""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from soaks.fault_runs import (
    CASES,
    Ended,
    Fault,
    Place,
    at_work,
    begin,
    end,
    launched,
    reference,
    remount,
    run,
    small_disk,
    table_of,
    then_again,
)
from soaks.folder import CONFIGS, EXIT_FINDINGS, write_cases

MANY_CASES = 10_000
EXIT_WRONG_USE, EXIT_ENVIRONMENT = 2, 5
NOBODY = 65534
NO_SUCH_USER = 54321
"""Has no entry in the system's list of users, as in containers that run under any number."""

FAULTS: list[Fault] = []


def fault(
    name: str, code: int, *, needs_root: bool = False
) -> Callable[[Callable[[Place], Ended]], Callable[[Place], Ended]]:
    """Add a function to `FAULTS`."""

    def add(attempt: Callable[[Place], Ended]) -> Callable[[Place], Ended]:
        FAULTS.append(Fault(name, code, attempt, needs_root))
        return attempt

    return add


# disks


def output_on_disk(place: Place, size: str) -> Ended:
    with small_disk(place.output, size):
        ended = run(place)
        remount(place.output, "size=64m")
        return then_again(place, ended)


@fault("disk full: output, from the start", EXIT_ENVIRONMENT, needs_root=True)
def disk_full_at_start(place: Place) -> Ended:
    return output_on_disk(place, "4k")


@fault("disk full: output, while running", EXIT_ENVIRONMENT, needs_root=True)
def disk_full_while_running(place: Place) -> Ended:
    return output_on_disk(place, "200k")


@fault("disk full: cache of engines", EXIT_ENVIRONMENT, needs_root=True)
def disk_full_cache(place: Place) -> Ended:
    with small_disk(place.folder / "cache", "100k") as cache:
        return then_again(place, run(place, "--engine", "onnx", environment={"MONAI_BRAIN_CACHE": str(cache)}))


@fault("disk full: a training's checkpoint", EXIT_ENVIRONMENT, needs_root=True)
def disk_full_checkpoint(place: Place) -> Ended:
    data = place.folder.parent
    files = [str(CONFIGS / "train.yaml"), str(CONFIGS / "networks" / "ann_baseline.yaml")]
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(files)]
    command += ["--max_epochs", "1", "--dataset_dir", str(data / "slices"), "--datalist", str(data / "datalist.json")]
    with small_disk(place.output, "20m"):  # enough for the weights
        ended = end(place, launched([*command, "--output_dir", str(place.output)], place.folder))
        remount(place.output, "size=256m")
        command += ["--resume", "true"]
        again = end(place, launched([*command, "--output_dir", str(place.output)], place.folder))
        return ended._replace(again=f"{again.code}" + ", differs" * bool(again.code))


@fault("TMPDIR full", EXIT_FINDINGS, needs_root=True)
def temporary_full(place: Place) -> Ended:
    with small_disk(place.folder / "tmp", "4k") as temporary:
        (temporary / "full").write_bytes(bytes(4096))
        return run(place, environment={"TMPDIR": str(temporary)})


@fault("TMPDIR full, and an archive among the input", EXIT_ENVIRONMENT, needs_root=True)
def temporary_full_archive(place: Place) -> Ended:
    scans = place.folder / "scans"
    scans.mkdir()
    with zipfile.ZipFile(scans / "scans.zip", "w") as archive:
        for path in sorted(place.scans.rglob("*.png")):
            archive.write(path, path.name)
    with small_disk(place.folder / "tmp", "100k") as temporary:
        return run(place, scans=scans, environment={"TMPDIR": str(temporary)})


# signals


def signaled(place: Place, number: signal.Signals, rows: int = 20) -> Ended:
    process = at_work(place, begin(place), rows)
    process.send_signal(number)
    return then_again(place, end(place, process))


@fault("SIGINT", 128 + signal.SIGINT)
def interrupted(place: Place) -> Ended:
    return signaled(place, signal.SIGINT)


@fault("SIGINT while it starts", 128 + signal.SIGINT)
def interrupted_early(place: Place) -> Ended:
    process = begin(place)
    time.sleep(2)  # its libraries take longer
    process.send_signal(signal.SIGINT)
    return end(place, process)


@fault("SIGTERM", 128 + signal.SIGTERM)
def terminated(place: Place) -> Ended:
    return signaled(place, signal.SIGTERM)


@fault("kill -9", -signal.SIGKILL)
def killed(place: Place) -> Ended:
    return signaled(place, signal.SIGKILL)


@fault("kill -9 between journal and table", -signal.SIGKILL)
def killed_before_table(place: Place) -> Ended:
    return signaled(place, signal.SIGKILL, CASES)


def workers_of(process: int) -> list[int]:
    """Processes that open files."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if words[1] == str(process) and b"spawn_main" in command:
            found.append(int(entry.name))
    return found


@fault("kill -9 of a worker, three times", EXIT_FINDINGS)
def killed_workers(place: Place) -> Ended:
    process = begin(place)
    for number in range(3):
        at_work(place, process, 20 + 50 * number)
        for worker in workers_of(process.pid):
            os.kill(worker, signal.SIGKILL)
    return end(place, process)


@fault("kill -9 of the parent: do workers survive?", -signal.SIGKILL)
def orphans(place: Place) -> Ended:
    process = at_work(place, begin(place))
    workers = workers_of(process.pid)
    process.kill()
    ended = end(place, process)
    time.sleep(3)
    alive = [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    return ended._replace(
        again=f"{len(alive)} of {len(workers)} workers survive" + (", which differs" if alive else "")
    )


# files that change


@fault("output deleted while running", EXIT_ENVIRONMENT)
def output_deleted(place: Place) -> Ended:
    process = at_work(place, begin(place))
    while process.poll() is None and place.output.exists():
        shutil.rmtree(place.output, ignore_errors=True)
    return end(place, process)


@fault("output's disk made read-only while running", EXIT_ENVIRONMENT, needs_root=True)
def output_read_only(place: Place) -> Ended:
    with small_disk(place.output, "64m"):
        process = at_work(place, begin(place))
        process.send_signal(signal.SIGSTOP)
        # as a server does that drops a share: files that are open stay so
        remounted = subprocess.run(["mount", "-o", "remount,ro", str(place.output)], check=False).returncode == 0
        if not remounted:  # busy: a file is open for writing
            subprocess.run(["mount", "--bind", "-o", "ro", str(place.output), str(place.output)], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", str(place.output)], check=True)
        process.send_signal(signal.SIGCONT)
        ended = end(place, process)
        subprocess.run(["mount", "-o", "remount,rw" if remounted else "remount,bind,rw", str(place.output)], check=True)
        ended = then_again(place, ended)
        if not remounted:
            subprocess.run(["umount", "-l", str(place.output)], check=True)
        return ended


@fault("output closed to its user while running (chmod)", EXIT_ENVIRONMENT, needs_root=True)
def output_closed(place: Place) -> Ended:
    place.folder.chmod(0o777)
    process = at_work(place, begin(place, environment=HOME_OF_NOBODY, **AS_NOBODY))
    place.output.chmod(0o500)
    ended = end(place, process)
    place.output.chmod(0o700)
    return then_again(place, ended)


@fault("input grows while running", EXIT_FINDINGS)
def input_grows(place: Place) -> Ended:
    scans = place.own_scans()
    process = at_work(place, begin(place, scans=scans))
    paths = sorted(scans.rglob("*.png"))
    for path in reversed(paths):
        with path.open("ab") as file:
            file.write(bytes(100))
        shutil.copy(path, path.with_name(f"new_{path.name}"))
    return end(place, process)


@fault("input vanishes while running", EXIT_FINDINGS)
def input_vanishes(place: Place) -> Ended:
    scans = place.own_scans()
    process = at_work(place, begin(place, scans=scans))
    shutil.rmtree(scans)
    return end(place, process)


@fault("FIFO, socket, device among the input", EXIT_FINDINGS)
def special_files(place: Place) -> Ended:
    scans = place.own_scans()
    os.mkfifo(scans / "fifo.png")
    there = Path.cwd()
    os.chdir(scans)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.png")
    os.chdir(there)
    rows = CASES + 2
    if os.geteuid() == 0:
        os.mknod(scans / "zero.png", stat.S_IFCHR | 0o644, os.makedev(1, 5))
        rows += 1
    return run(place, scans=scans)._replace(rows=rows)


@fault("files become FIFOs while running", EXIT_FINDINGS)
def becomes_fifo(place: Place) -> Ended:
    scans = place.own_scans()
    process = at_work(place, begin(place, scans=scans))
    for path in sorted(scans.rglob("*.png"))[-2:]:
        path.unlink()
        os.mkfifo(path)
    return end(place, process)


@fault("FIFO as input folder", EXIT_WRONG_USE)
def fifo_as_input(place: Place) -> Ended:
    os.mkfifo(place.folder / "fifo")
    return run(place, scans=place.folder / "fifo")


@fault("/dev/zero as input folder", EXIT_WRONG_USE)
def device_as_input(place: Place) -> Ended:
    return run(place, scans=Path("/dev/zero"))


# users and limits


AS_NOBODY = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
HOME_OF_NOBODY = {"HOME": "/nonexistent", "XDG_CACHE_HOME": None}


@fault("no HOME", EXIT_FINDINGS)
def no_home(place: Place) -> Ended:
    return run(place, environment={"HOME": None})


@fault("no HOME, and a user without a name", EXIT_FINDINGS, needs_root=True)
def no_user(place: Place) -> Ended:
    place.folder.chmod(0o777)
    return run(place, environment={"HOME": None}, user=NO_SUCH_USER, group=NO_SUCH_USER, extra_groups=[])


@fault("no HOME, a user without a name, engine onnx", EXIT_WRONG_USE, needs_root=True)
def no_user_onnx(place: Place) -> Ended:
    place.folder.chmod(0o777)
    nobody = {"user": NO_SUCH_USER, "group": NO_SUCH_USER, "extra_groups": []}
    return run(place, "--engine", "onnx", environment={"HOME": None}, **nobody)


@fault("as nobody", EXIT_FINDINGS, needs_root=True)
def as_nobody(place: Place) -> Ended:
    place.folder.chmod(0o777)
    return run(place, environment=HOME_OF_NOBODY, **AS_NOBODY)


@fault("as nobody, engine onnx", EXIT_WRONG_USE, needs_root=True)
def as_nobody_onnx(place: Place) -> Ended:
    place.folder.chmod(0o777)
    return run(place, "--engine", "onnx", environment=HOME_OF_NOBODY, **AS_NOBODY)


@fault("as nobody, into another user's folder", EXIT_WRONG_USE, needs_root=True)
def nobody_elsewhere(place: Place) -> Ended:
    return run(place, environment=HOME_OF_NOBODY, **AS_NOBODY)


@fault("ulimit -n 64", EXIT_FINDINGS)
def few_files(place: Place) -> Ended:
    import resource

    return run(place, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))


@fault("ulimit -n 8", EXIT_ENVIRONMENT)
def too_few_files(place: Place) -> Ended:
    import resource

    return run(place, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)))


@fault("umask 077", EXIT_FINDINGS)
def private(place: Place) -> Ended:
    ended = run(place, umask=0o077)
    open_to_others = [path for path in place.output.rglob("*") if path.stat().st_mode & 0o077]
    return ended._replace(again=f"{len(open_to_others)} files open to others" + ", differs" * bool(open_to_others))


# names and numbers


@fault("names of 255 bytes", EXIT_FINDINGS)
def long_names(place: Place) -> Ended:
    scans = place.own_scans()
    for number, path in enumerate(sorted(scans.rglob("*.png"))):
        path.rename(path.with_name(f"{number:03d}{'ü' * 124}.png"))  # 3 + 248 + 4
    return run(place, scans=scans)


@fault(f"{MANY_CASES} files", EXIT_FINDINGS)
def many_files(place: Place) -> Ended:
    return run(place, scans=write_cases(place.folder / "scans", MANY_CASES))._replace(rows=MANY_CASES)


@fault("two runs into one folder", EXIT_WRONG_USE)
def two_runs(place: Place) -> Ended:
    other = Place(place.folder / "second", place.scans, place.weights)
    other.folder.mkdir()
    first = begin(place)
    while first.poll() is None and not (place.output / ".lock").is_file():
        time.sleep(0.01)
    command = [sys.executable, "-m", "monai_brain", "predict", str(place.scans), "-o", str(place.output)]
    second = launched([*command, "--weights", str(place.weights)], other.folder)
    ended = end(other, second)
    whole = end(place, first)
    same = table_of(place.output) == reference(place)
    return ended._replace(again=f"the first run: {whole.code}, table {'equal' if same else 'differs'}")
