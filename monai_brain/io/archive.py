"""Unpack zip archives of scans, checked before a byte is written and limited while unpacking."""

import errno
import os
import stat
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from monai_brain.io.record import UnreadableCase
from monai_brain.io.write import named

CHUNK = 1 << 20
DRIVE = ":"
UNUSABLE_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class ArchiveLimits(NamedTuple):
    """Limits for an archive's contents."""

    max_members: int = 20_000
    """A study of many DICOM series has some thousand files."""
    max_bytes: int = 4 * 1024**3
    """Of all members together, unpacked."""
    max_ratio: float = 100.0
    """Unpacked to packed; images reach 10."""


DEFAULT_ARCHIVE_LIMITS = ArchiveLimits()


def check_archive(path: Path, limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS) -> list[zipfile.ZipInfo]:
    """The files in an archive, if it is safe to unpack.

    Raises:
        UnreadableCase: `damaged`, `too_large`, or `unsafe_archive` (names that lead elsewhere or that fall together,
            or lie in one another, links, passwords, too many members, an unusual compression).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UnreadableCase("damaged", f"the archive cannot be read ({type(error).__name__})") from None
    if len(members) > limits.max_members:
        raise UnreadableCase("unsafe_archive", f"{len(members)} members; at most {limits.max_members} are unpacked")
    size = sum(member.file_size for member in members)
    if size > limits.max_bytes:
        raise UnreadableCase("too_large", f"unpacks to {size} bytes; at most {limits.max_bytes} are allowed")
    if size > limits.max_ratio * max(1, path.stat().st_size):
        raise UnreadableCase("unsafe_archive", f"unpacks to more than {limits.max_ratio:.0f} times its size")
    seen: set[PurePosixPath] = set()
    for member in members:
        _check_member(member, seen)
    files = {_folded(member) for member in members if not member.is_dir()}
    if any(parent in files for name in seen for parent in name.parents):
        raise UnreadableCase("unsafe_archive", "a member lies in another one, which is no folder")
    return [member for member in members if not member.is_dir()]


def unpack(path: Path, folder: Path, limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS) -> None:
    """Unpack a checked archive into a new folder.

    Args:
        path: of the archive.
        folder: must not exist.
        limits: see `check_archive`, whose errors are raised; whatever was written stays for the caller to remove.
    """
    members = check_archive(path, limits)
    folder.mkdir(parents=True)
    written = 0
    try:
        with named(folder), zipfile.ZipFile(path) as archive:
            for member in members:
                target = folder / PurePosixPath(member.filename)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as file:
                    while block := source.read(CHUNK):
                        written += len(block)
                        if written > limits.max_bytes:
                            raise UnreadableCase("too_large", f"unpacks to more than {limits.max_bytes} bytes")
                        file.write(block)
                # depends only on the content, because a resumed run compares it
                os.utime(target, ns=(member.CRC, member.CRC))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnreadableCase("damaged", f"a member cannot be unpacked ({type(error).__name__})") from None
    except OSError as error:
        if error.errno not in UNUSABLE_NAME:
            raise
        raise UnreadableCase(
            "unsafe_archive", f"a member's name cannot be used here ({error.strerror}); unpack it elsewhere"
        ) from None


def _check_member(member: zipfile.ZipInfo, seen: set[PurePosixPath]) -> None:
    name = member.filename
    parts = PurePosixPath(name).parts
    outside = name.startswith(("/", "\\")) or "\\" in name or DRIVE in name or ".." in parts or "\0" in name
    if outside or not parts:
        raise UnreadableCase("unsafe_archive", "a member's name leads out of the archive")
    mode = member.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnreadableCase("unsafe_archive", "a member is a link or a special file")
    if member.flag_bits & 1:
        raise UnreadableCase("unsafe_archive", "the archive is protected by a password; unpack it first")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableCase("unsafe_archive", "a member is compressed in an unusual way; pack it again with deflate")
    folded = _folded(member)
    if folded in seen:
        raise UnreadableCase("unsafe_archive", "two members have the same name on some systems")
    seen.add(folded)


def _folded(member: zipfile.ZipInfo) -> PurePosixPath:
    """A member's name, normalized at least as strictly as any system compares names."""
    return PurePosixPath(unicodedata.normalize("NFC", member.filename).casefold())
