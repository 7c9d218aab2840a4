"""One run at a time in a folder; the system itself lets go of the lock of a process that died."""

import errno
import os
from pathlib import Path
from typing import IO

NAME = ".lock"

HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What systems say of a lock that somebody else holds."""


class FolderInUse(ValueError):
    """Another process works in the folder."""


class FolderUnavailable(OSError):
    """A run's folder was removed, or closed to it, while it worked there."""


class FolderLock:
    """Held from `acquire` until `release`, or until the process ends, however it ends.

    Args:
        folder: must exist when the lock is acquired.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            FolderInUse: another process holds it, or the file system knows no locks.
        """
        file = self.path.open("ab")
        try:
            _lock(file)
        except OSError as error:
            file.close()
            if error.errno in HELD:
                message = "another run is using this folder; wait for it, or give another folder"
            else:
                message = f"its file system does not support locks ({error.strerror}); give a folder on another one"
            raise FolderInUse(f"{self.path.parent}: {message}") from None
        self.file = file

    def release(self) -> None:
        """Let go; the file stays, for removing it would let two others in."""
        if self.file is not None:
            self.file.close()
            self.file = None


def _lock(file: IO[bytes]) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
