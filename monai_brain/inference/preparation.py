"""From a case to uint8 slices, in this process or in workers that may die: files of others are opened there."""

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple

import cv2
import numpy as np
import torch
from monai.data import set_track_meta
from monai.transforms import Compose

from monai_brain.evaluation.input_check import InputCheck
from monai_brain.io import Case, Image, UnreadableCase, read_case
from monai_brain.io.read import read_bytes
from monai_brain.transforms.load import as_8_bits, has_bright_border, slices_of, to_channels, to_network_channels

Chooser = Callable[[np.ndarray], Sequence[int]]
"""Indices of the slices of a volume, uint8 (C, D, H, W), that the network is shown."""

SECONDS_PER_CASE = 30.0
"""After which a worker is taken to hang; the largest volume that is read takes about half of it."""

WORKER_BYTES = 4 * 1024**3
"""That a worker may take beyond what its libraries take."""

OUT_OF_MEMORY = ("Insufficient memory", "can't allocate memory", "out of memory", "Unable to allocate")
"""How OpenCV, torch (for CPU and GPU) and numpy say it."""

SECONDS_TO_START, READY = 300.0, "ready"

STARTS = 3
"""Of a worker that dies before it can begin: a system that is short of memory kills such processes."""

MOST_CASES_AHEAD, MOST_BYTES_AHEAD = 128, 256 * 1024**2
"""Prepared cases that wait for the network."""


class Prepared(NamedTuple):
    """A case on its way to the network."""

    image: Image
    """As it was read, but uint8; a slice without its colors, which nobody asks for any more."""
    wanted: tuple[int, ...]
    """Slices that the network is shown."""
    slices: tuple[np.ndarray, ...]
    """These slices after the deterministic transforms, uint8 (C, h, w)."""
    warnings: tuple[str, ...]
    sha256: str
    """Of the files, one after the other."""
    seconds: tuple[float, float] = (0.0, 0.0)
    """That reading and preprocessing took."""
    checked: np.ndarray | None = None
    """Scores of these slices by the input check, see `InputCheck`; None without one."""


class Preparer(NamedTuple):
    """What is done to a case; travels to workers."""

    deterministic: Compose
    choose: Chooser
    check: InputCheck | None = None

    def __call__(self, case: Case) -> Prepared | UnreadableCase:
        """The case's slices, or why it cannot be used; never an exception because of a file's content."""
        began = time.perf_counter()
        try:
            image = as_8_bits(read_case(case))
            digest = _digest(case)
            read = time.perf_counter()
            slices = slices_of(image)
            wanted = tuple(int(i) for i in self.choose(image.pixels)) if image.kind == "volume" else (0,)
            items = [self.deterministic({"image": slices[position]}) for position in wanted]
            checked = self._checked([slices[position] for position in wanted])
        except Exception as error:
            return _refusal(error)
        notes = [code for item in items for code in item.get("image_warnings", ())]
        bright = ["bright_border"] if has_bright_border(image.pixels) else []
        warnings = tuple(dict.fromkeys([*image.warnings, *notes, *bright]))
        if image.kind == "slice" and not image.channels:
            image = image._replace(pixels=to_channels(image.pixels, gray=True))
        seconds = (read - began, time.perf_counter() - read)
        seen = tuple(np.asarray(item["image"]) for item in items)
        return Prepared(image, wanted, seen, warnings, digest, seconds, checked)

    def _checked(self, slices: Sequence[Image]) -> np.ndarray | None:
        if self.check is None:
            return None
        return self.check([to_network_channels(own, gray=True)[0][0] for own in slices])


def _digest(case: Case) -> str:
    digest = hashlib.sha256()
    for path in case.files:
        digest.update(read_bytes(path))
    return digest.hexdigest()


def _refusal(error: BaseException) -> UnreadableCase:
    """What is said of a case, whatever MONAI's transforms wrapped it in."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, UnreadableCase):
            return link
        if isinstance(link, MemoryError) or any(words in str(link) for words in OUT_OF_MEMORY):
            return UnreadableCase("out_of_memory", "the file needs more memory than a worker may take")
        link = link.__cause__
    return UnreadableCase("unreadable", f"preprocessing failed ({type(error).__name__})")


class WorkerStartError(RuntimeError):
    """No process that reads files can be had, with the way out."""


def prepare_here(cases: Sequence[Case], preparer: Preparer) -> Generator[Prepared | UnreadableCase]:
    """Prepare cases in this process, in order."""
    set_track_meta(False)
    for case in cases:
        yield preparer(case)


class WorkerPool:
    """Processes that prepare cases; one that dies or hangs costs its case only.

    Args:
        preparer: what they do.
        workers: how many, at least 1.
        seconds_per_case: see `SECONDS_PER_CASE`.
        bytes_per_worker: see `WORKER_BYTES`.
    """

    def __init__(
        self,
        preparer: Preparer,
        workers: int,
        *,
        seconds_per_case: float = SECONDS_PER_CASE,
        bytes_per_worker: int = WORKER_BYTES,
    ) -> None:
        self.preparer = preparer
        self.seconds = seconds_per_case
        self.bytes = bytes_per_worker
        self.workers = [self._start() for _ in range(workers)]

    def prepare(self, cases: Sequence[Case]) -> Generator[Prepared | UnreadableCase]:
        """Prepare cases; results come in the cases' order."""
        desk = _Dispatcher(cases)
        threads = [threading.Thread(target=self._serve, args=(n, desk), daemon=True) for n in range(len(self.workers))]
        for thread in threads:
            thread.start()
        try:
            for index in range(len(cases)):
                yield desk.collect(index)
        finally:
            desk.close()
            for thread in threads:
                thread.join()  # a worker may still be busy with a case; the next user must find it idle

    def wait_until_ready(self) -> None:
        """Until every process has its libraries.

        Raises:
            WorkerStartError: what it says.
        """
        for number in range(len(self.workers)):
            self._wait_for(number)

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.end()
        self.workers = []

    def _start(self) -> "_Worker":
        return _Worker(self.preparer, self.bytes)

    def _wait_for(self, number: int) -> None:
        for _ in range(STARTS - 1):
            if self.workers[number].is_ready_in_time() or self.workers[number].process.is_alive():
                break
            self._replace(number)
        if not self.workers[number].is_ready_in_time():
            raise WorkerStartError(
                "a process that reads files does not start; a script needs `if __name__ == '__main__':` around "
                "what it does, or workers=0 (--workers 0)"
            )

    def _replace(self, number: int) -> None:
        self.workers[number].end()
        self.workers[number] = self._start()

    def _serve(self, number: int, desk: "_Dispatcher") -> None:
        """One thread for each worker: it hands out cases and waits."""
        try:
            while (order := desk.next()) is not None:
                index, case = order
                self._wait_for(number)
                answer = self.workers[number].ask(case, self.seconds)
                if answer is None:
                    self._replace(number)
                    answer = UnreadableCase("decoder_died", "the process that read the file died, or took too long")
                desk.put(index, answer)
        except BaseException as error:
            if not desk.is_closed:
                desk.fail(error)


class _Worker:
    """A process and the line to it."""

    def __init__(self, preparer: Preparer, limit_bytes: int) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, preparer, limit_bytes), daemon=True)
        self.process.start()
        theirs.close()
        self.is_ready = False

    def is_ready_in_time(self) -> bool:
        """Its libraries take seconds to load, which are no file's fault."""
        if not self.is_ready:
            try:
                self.is_ready = self.connection.poll(SECONDS_TO_START) and self.connection.recv() == READY
            except (EOFError, OSError):
                self.process.join(1)  # so that `is_alive` knows
        return self.is_ready

    def ask(self, case: Case, seconds: float) -> Prepared | UnreadableCase | None:
        """Its answer; None where it died or took too long."""
        try:
            self.connection.send(case)
            return self.connection.recv() if self.connection.poll(seconds) else None
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        """Kill the process."""
        with contextlib.suppress(OSError):
            self.connection.close()
        self.process.kill()
        self.process.join()


class _Dispatcher:
    """Where threads take orders and leave results, not too far ahead of the one who collects them."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.taken = 0
        self.collected = 0
        self.bytes = 0
        self.results: dict[int, Prepared | UnreadableCase] = {}
        self.error: BaseException | None = None
        self.is_closed = False
        self.changed = threading.Condition()

    def next(self) -> tuple[int, Case] | None:
        with self.changed:
            self.changed.wait_for(lambda: self.is_closed or self.taken >= len(self.cases) or self._has_room())
            if self.is_closed or self.taken >= len(self.cases):
                return None
            self.taken += 1
            return self.taken - 1, self.cases[self.taken - 1]

    def _has_room(self) -> bool:
        ahead = self.taken - self.collected
        return ahead < 1 or (ahead < MOST_CASES_AHEAD and self.bytes < MOST_BYTES_AHEAD)

    def put(self, index: int, result: Prepared | UnreadableCase) -> None:
        with self.changed:
            self.results[index] = result
            self.bytes += _bytes_of(result)
            self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self.changed:
            self.error = error
            self.changed.notify_all()

    def collect(self, index: int) -> Prepared | UnreadableCase:
        with self.changed:
            self.changed.wait_for(lambda: index in self.results or self.error is not None)
            if self.error is not None:
                raise self.error
            result = self.results.pop(index)
            self.collected += 1
            self.bytes -= _bytes_of(result)
            self.changed.notify_all()
            return result

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.changed.notify_all()


def _bytes_of(result: Prepared | UnreadableCase) -> int:
    if isinstance(result, UnreadableCase):
        return 0
    return result.image.pixels.nbytes + sum(own.nbytes for own in result.slices)


def _work(connection: Connection, preparer: Preparer, limit_bytes: int) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    set_track_meta(False)
    _limit_memory(limit_bytes)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):  # the parent is gone
        connection.send(READY)
        while True:
            connection.send(preparer(connection.recv()))


def _limit_memory(limit_bytes: int) -> None:
    """Allow so much beyond what is taken now; where the system knows no such limit, the time limit alone holds."""
    try:
        import resource

        with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123
            taken = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (taken + limit_bytes, resource.RLIM_INFINITY))
    except (ImportError, OSError, StopIteration, ValueError):
        return


def default_workers() -> int:
    """One for every four cores: networks need the others."""
    return max(1, (os.cpu_count() or 1) // 4)
