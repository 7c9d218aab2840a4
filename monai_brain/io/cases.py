"""Find cases, and files that are not cases, in a folder of scans; each becomes a row of the result table."""

import contextlib
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from monai_brain.io.archive import unpack
from monai_brain.io.dicom_header import read_header
from monai_brain.io.formats import usual_suffixes
from monai_brain.io.paired_files import joined
from monai_brain.io.record import Case, Skipped, UnreadableCase
from monai_brain.io.sequences import gather, read_table

__all__ = ["Case", "Skipped", "find_cases"]

SIDECAR_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "dicomdir", "license", "readme"})
"""Files that systems and data sets leave next to images; compared in lower case."""

LITTER_FOLDERS = frozenset(
    {
        *("__macosx", ".appledouble", ".spotlight-v100", ".trashes", ".fseventsd", ".ds_store"),  # macOS
        *("$recycle.bin", "system volume information"),  # Windows
        *("lost+found", "@eadir", "#recycle", ".snapshot", ".snapshots"),  # Linux and network storage
        *(".git", ".svn", ".datalad", ".dvc", ".ipynb_checkpoints", "__pycache__"),  # tools
    }
)
"""Folders left by systems and tools, compared in lower case: one row each, and nothing in them is read."""

LITTER_PREFIX = "._"
"""Prefix of the files in which macOS stores metadata that other file systems cannot hold."""

SIDECAR_SUFFIXES = frozenset(
    {
        ".txt",
        ".csv",
        ".json",
        ".jsonl",
        ".yaml",
        ".yml",
        ".xml",
        ".md",
        ".html",
        ".htm",
        ".pdf",
        ".xlsx",
        ".py",
        ".log",
    }
)
"""Notes, tables and reports. All other files are opened and judged by content."""


ARCHIVE_SUFFIXES = (".zip", ".gz")
"""Names of what may hold an image and is none."""


DEEPEST_FOLDER = 64
"""Levels below the folder to which links are followed."""


class InvalidPattern(ValueError):
    """An invalid pattern or search depth; the message says what to do."""


def find_cases(
    folder: str | os.PathLike[str],
    unpack_into: Path | None = None,
    *,
    recursive: bool = True,
    glob: str | None = None,
    follow_links: bool = False,
) -> Iterator[Case | Skipped]:
    """Find every file under `folder`, in a stable order, as a case or as a skipped file with a code.

    Every file that is not a known sidecar becomes a case; `read_case` determines its format. Links that leave the
    folder are not followed.

    Args:
        folder: folder to search, including its subfolders; or one file; or a table of cases (`.csv`, see
            `io.sequences.read_table`).
        unpack_into: folder to unpack zip archives into; their files become cases (`scans.zip/a.png`). None: an
            archive is a case that cannot be read.
        recursive: search subfolders too; otherwise only files directly in the folder (archives there are unpacked
            completely).
        glob: only files whose path matches from the right, as in `pathlib.PurePath.match`: `*.png` for any such
            file, `flair/*.nii.gz` for those in a folder of this name. Other files are ignored. For an archive, its
            own name must match, not the names inside.
        follow_links: also follow symbolic links that lead out of the folder, each folder once and at most
            `DEEPEST_FOLDER` levels deep. Use it only for folders whose links you trust.

    Raises:
        FileNotFoundError: the folder does not exist.
        InvalidTable: the table is invalid.
        InvalidPattern: `glob` is empty, leads out of the folder or contains `**`, or `folder` is not a folder.
    """
    top = Path(folder)
    if glob is not None:
        _check_pattern(glob)
    if top.is_file():
        if glob is not None or not recursive:
            raise InvalidPattern(f"{top}: is a file; --glob and --no-recursive are for folders, leave them out")
        entries = read_table(top) if top.suffix.lower() == ".csv" else [_case(top.name, top)]
        yield from _unpacked(entries, unpack_into)
        return
    if not top.is_dir():
        raise FileNotFoundError(f"{top}: no such folder; give the folder that holds the scans")
    walk = _walk(top, top.resolve(), recursive=recursive, glob=glob, follow=follow_links)
    yield from _with_shared_series(list(_unpacked(walk, unpack_into)))


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name was left by a system or tool and contains no scan."""
    return name.startswith(LITTER_PREFIX) or name.lower() in LITTER_FOLDERS


def _check_pattern(glob: str) -> None:
    parts = PurePosixPath(glob).parts if isinstance(glob, str) else ()
    if not parts or glob.startswith("/") or ".." in parts or "**" in parts:
        raise InvalidPattern(
            f"glob {glob!r}; expected one such as *.png, or flair/*.nii.gz, relative to the folder and without ** or .."
        )


def _unpacked(entries: Iterable[Case | Skipped], into: Path | None) -> Iterator[Case | Skipped]:
    """The same entries, with archives replaced by their contents; nested archives are not opened."""
    for number, entry in enumerate(entries):
        is_archive = isinstance(entry, Case) and entry.files[0].suffix.lower() == ".zip"
        if into is None or not is_archive:
            yield entry
            continue
        assert isinstance(entry, Case)
        folder = into / f"{number}"
        try:
            unpack(entry.files[0], folder)
        except UnreadableCase as error:
            yield entry._replace(refused=(error.code, str(error)))
            continue
        for inner in _walk(folder, folder.resolve()):
            yield inner._replace(id=f"{entry.id}/{inner.id}")


def _walk(
    top: Path, real_top: Path, *, recursive: bool = True, glob: str | None = None, follow: bool = False
) -> Iterator[Case | Skipped]:
    unreadable: list[OSError] = []
    visited = {real_top}
    for folder, folder_names, file_names in os.walk(top, onerror=unreadable.append, followlinks=follow):
        here = Path(folder)
        links = [name for name in folder_names if (here / name).is_symlink()]
        litter = sorted(name for name in folder_names if is_clutter(name) and name not in links)
        followed = _followed(here, links, visited, len(here.relative_to(top).parts)) if follow else []
        if follow:
            visited |= {(here / name).resolve() for name in (*followed, *set(folder_names).difference(links))}
        closed = {*litter, *links} - set(followed)
        folder_names[:] = sorted(set(folder_names) - closed) if recursive else []
        entries: list[Case | Skipped] = []
        itself = [here] if here != top and here.name.lower().endswith((*_not_dicom(), ".dcm")) else []
        names = sorted(file_names + [name for name in links if name not in followed and recursive])
        for path in (*itself, *(here / name for name in names)):
            identity = path.relative_to(top).as_posix()
            if glob is not None and not PurePosixPath(identity).match(glob):
                continue
            code = _reason_to_skip(path, real_top, follow)
            entries.append(Skipped(identity, code) if code else _case(identity, path))
        if recursive and glob is None:
            entries += [Skipped((here / name).relative_to(top).as_posix(), "sidecar") for name in litter]
        yield from _series(joined(gather(entries)))
    for error in unreadable:  # a folder that may not be listed would hide its files silently
        yield Skipped(Path(error.filename).relative_to(top).as_posix(), "unreadable_folder")


def _followed(here: Path, links: Iterable[str], visited: set[Path], depth: int) -> list[str]:
    """Links to folders where the search has not been and that do not lead back."""
    followed: list[str] = []
    targets: set[Path] = set()
    for name in sorted(links):
        try:
            target = (here / name).resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        around = target in here.resolve().parents or target == here.resolve()
        if not around and target not in visited | targets and depth < DEEPEST_FOLDER:
            followed.append(name)
            targets.add(target)
    return followed


def _series(entries: list[Case | Skipped]) -> list[Case | Skipped]:
    """DICOM files of one series as one case, named after the first; objects without an image are skipped."""
    result: list[Case | Skipped] = []
    places: dict[str, int] = {}
    for entry in entries:
        header = read_header(entry.files[0]) if isinstance(entry, Case) and _may_be_dicom(entry) else None
        if header is None or not isinstance(entry, Case):
            result.append(entry)
        elif not header.has_picture:
            result.append(Skipped(entry.id, "no_pixels"))
        elif header.series in places:
            place = places[header.series]
            first = result[place]
            assert isinstance(first, Case)
            result[place] = first._replace(files=(*first.files, *entry.files), kind="volume")
        else:
            if header.series:
                places[header.series] = len(result)
                entry = entry._replace(series=hashlib.sha256(header.series.encode()).hexdigest()[:16])
            result.append(entry)
    return result


def _with_shared_series(entries: list[Case | Skipped]) -> Iterator[Case | Skipped]:
    """The same entries; DICOM cases of one series, from several folders, with a warning each: it may lie apart."""
    places = Counter(entry.series for entry in entries if isinstance(entry, Case))
    for entry in entries:
        if isinstance(entry, Case) and entry.series and places[entry.series] > 1:
            entry = entry._replace(warnings=(*entry.warnings, "series_in_two_folders"))
        yield entry


def _not_dicom() -> tuple[str, ...]:
    """Names whose files are not opened to look for a DICOM series; reading looks at the content all the same."""
    return (*usual_suffixes(), *ARCHIVE_SUFFIXES)


def _may_be_dicom(case: Case) -> bool:
    return len(case.files) == 1 and not case.files[0].name.lower().endswith(_not_dicom())


def _case(identity: str, path: Path) -> Case:
    is_volume = path.name.lower().endswith(usual_suffixes(volumes_only=True))
    return Case(identity, (path,), "volume" if is_volume else "slice")


def _reason_to_skip(path: Path, real_top: Path, follow: bool = False) -> str | None:
    if path.is_symlink():
        try:
            target = path.resolve(strict=True)
        except FileNotFoundError:
            return "dangling_link"
        except (OSError, RuntimeError):  # RuntimeError: what Python before 3.13 makes of a loop
            return "link_loop"
        if not target.is_relative_to(real_top) and not (follow and target.is_file()):
            return "linked_folder" if follow and target.is_dir() else "link_out"
        if target.is_dir():
            return "link_loop" if path.resolve() in path.absolute().parents else "linked_folder"
    with contextlib.suppress(FileNotFoundError):  # removed since it was listed: reading it will report that
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return "folder" if stat.S_ISDIR(mode) else "special_file"
    if path.name.lower() in SIDECAR_NAMES or is_clutter(path.name) or path.suffix.lower() in SIDECAR_SUFFIXES:
        return "sidecar"
    return None
