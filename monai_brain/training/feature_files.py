"""The cache folder for features: its files, disk space, and leftovers of other runs."""

import contextlib
import logging
import math
import os
import platform
import re
import secrets
import shutil
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

GIGABYTE = 1_000_000_000

KEPT_FREE = 2 * GIGABYTE
"""Disk space that always stays free."""

FINISHED = re.compile(r"[0-9a-f]{32}\.npy")
PARTIAL = re.compile(r"[0-9a-f]{32}\.(?P<host>[\w-]*)\.(?P<process>\d+)\.[0-9a-f]+\.partial")
"""Names of this cache's files; all other files in the folder are left alone."""

SECONDS_OF_A_DAY = 86_400

CHECKSUM = struct.Struct("<I")
"""CRC-32 of a file's values, at its end."""

BYTES_AT_ONCE = 1 << 24

logger = logging.getLogger(__name__)


def read_features(path: Path) -> Tensor:
    """A file of the cache, memory-mapped.

    Returns:
        (N, C, h, w), channels last in memory, or (N, C); bfloat16 or float32.
    """
    values = torch.from_numpy(np.lib.format.open_memmap(path, mode="c"))  # copy on write: torch wants writable arrays
    features = values.view(torch.bfloat16) if values.dtype == torch.int16 else values
    return features.permute(0, 3, 1, 2) if features.ndim == 4 else features


def remove_damaged(path: Path) -> None:
    """Remove a file that fails its checksum; it is then computed again."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file) if version == (1, 0) else ((), False, None)
            left, checksum = (math.prod(shape) * dtype.itemsize if dtype else 0), 0
            while left and (block := file.read(min(left, BYTES_AT_ONCE))):
                checksum, left = zlib.crc32(block, checksum), left - len(block)
            intact = not left and file.read() == CHECKSUM.pack(checksum)
    except FileNotFoundError:
        return
    except ValueError:  # no header of NumPy's
        intact = False
    if not intact:
        logger.warning("%s: damaged, or of an older version; its features are computed anew", path)
        path.unlink(missing_ok=True)


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
        self.file, self.slices, self.written, self.checksum = file, slices, 0, 0

    def append(self, features: Tensor) -> None:
        """(N, C, h, w) or (N, C), stored channels last; bfloat16 as its bits."""
        channels_last = features.permute(0, 2, 3, 1) if features.ndim == 4 else features
        values = channels_last.contiguous().cpu()
        array = (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy()
        if not self.written:
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": (self.slices, *array.shape[1:])}
            np.lib.format.write_array_header_1_0(self.file, header)
        content = array.tobytes()
        self.file.write(content)
        self.checksum = zlib.crc32(content, self.checksum)
        self.written += len(array)

    def finish(self) -> None:
        """Write the checksum of the values behind them, where NumPy does not look."""
        self.file.write(CHECKSUM.pack(self.checksum))


@contextlib.contextmanager
def writing(path: Path, slices: int) -> Iterator[Writer]:
    """A file of that many slices, which appears at `path` when all is written."""
    partial = path.with_name(f"{path.stem}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            writer = Writer(file, slices)
            yield writer
            writer.finish()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def make_room(folder: Path, keep: set[Path], total: int, missing: int, max_bytes: int) -> bool:
    """Remove the least recently used files until `missing` more bytes fit, unless that cannot succeed."""
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
    """Partial files of processes that no longer exist."""
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
