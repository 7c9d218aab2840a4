"""The folder of cached features: its files, room for them, and what other runs left there."""

import contextlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

GIGABYTE = 1_000_000_000

KEPT_FREE = 2 * GIGABYTE
"""What is left of the disk, at least."""

FINISHED = re.compile(r"[0-9a-f]{32}\.npy")
PARTIAL = re.compile(r"[0-9a-f]{32}\.(?P<host>[\w-]*)\.(?P<process>\d+)\.[0-9a-f]+\.partial")
"""Names of this cache's files; whatever else lies in the folder is somebody else's."""

SECONDS_OF_A_DAY = 86_400


def read_features(path: Path) -> Tensor:
    """A file of the cache, memory-mapped.

    Returns:
        (N, C, h, w), channels last in memory, or (N, C); bfloat16 or float32.
    """
    values = torch.from_numpy(np.lib.format.open_memmap(path, mode="c"))  # copy on write: torch wants writable arrays
    features = values.view(torch.bfloat16) if values.dtype == torch.int16 else values
    return features.permute(0, 3, 1, 2) if features.ndim == 4 else features


class StoredFeatures(Dataset):
    """One file's features, a slice each."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Tensor:
        return self.features[index]


class Writer:
    """Appends batches to a .npy file. Written and not mapped: a full disk is then an error and not a crash."""

    def __init__(self, file: IO[bytes], slices: int) -> None:
        self.file, self.slices, self.written = file, slices, 0

    def append(self, features: Tensor) -> None:
        """(N, C, h, w) or (N, C), stored channels last; bfloat16 as its bits."""
        channels_last = features.permute(0, 2, 3, 1) if features.ndim == 4 else features
        values = channels_last.contiguous().cpu()
        array = (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy()
        if not self.written:
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": (self.slices, *array.shape[1:])}
            np.lib.format.write_array_header_1_0(self.file, header)
        self.file.write(array.tobytes())
        self.written += len(array)


@contextlib.contextmanager
def writing(path: Path, slices: int) -> Iterator[Writer]:
    """A file of that many slices, which appears at `path` when all is written."""
    partial = path.with_name(f"{path.stem}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            writer = Writer(file, slices)
            yield writer
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def make_room(folder: Path, keep: set[Path], total: int, missing: int, max_bytes: int) -> bool:
    """Remove the least recently used files until `missing` more bytes fit; nothing, where that would not help."""
    others = sorted((p for p in folder.iterdir() if FINISHED.fullmatch(p.name) and p not in keep), key=_used)
    taken = sum(map(size_of, others))
    free = shutil.disk_usage(folder).free - KEPT_FREE
    if total > max_bytes or missing > free + taken:
        return False
    for path in others:
        if taken + total <= max_bytes and missing <= free:
            break
        taken, free = taken - size_of(path), free + size_of(path)
        path.unlink(missing_ok=True)
    return True


def size_of(path: Path) -> int:
    """Bytes; 0 of what is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another run removed it
        return 0


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remove_abandoned(folder: Path) -> None:
    """Partial files of processes that are gone."""
    for path in folder.iterdir():
        found = PARTIAL.fullmatch(path.name)
        if found and not _alive(path, found["host"], int(found["process"])):
            path.unlink(missing_ok=True)


def _alive(partial: Path, host: str, process: int) -> bool:
    """Whether the process that a partial file names may still write it."""
    if host != _host() or os.name != "posix":  # there is no harmless way to ask
        return time.time() - _used(partial) < SECONDS_OF_A_DAY
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return re.sub(r"[^\w-]", "-", platform.node())
