"""Volumes in two files, a header and its voxels beside it: Analyze and NIfTI pairs, MetaImage (.mhd), NRRD (.nhdr)."""

import re
from collections.abc import Sequence
from pathlib import Path

from monai_brain.io.itk_volumes import LONGEST_HEADER, data_file, is_meta, is_nrrd
from monai_brain.io.nifti import is_pair_header
from monai_brain.io.record import Case, Skipped, UnreadableCase

HEADER_SUFFIXES = (".hdr", ".hdr.gz", ".mhd", ".nhdr", ".mha", ".nrrd")
"""Names of files that are opened to see whether they lead to another one; the last two mostly hold their voxels."""

PART_SUFFIXES = (".raw", ".raw.gz", ".zraw", ".img", ".img.gz", ".bin", ".dat")
"""Names of files that a header may lead to: no header makes a part of what may be an image of its own."""

HALVES = {".hdr": (".img", ".IMG", ".img.gz"), ".hdr.gz": (".img.gz", ".img", ".IMG.GZ")}
"""Of a pair, which does not say where its voxels are: names that are tried, one after the other."""


def joined(entries: Sequence[Case | Skipped]) -> list[Case | Skipped]:
    """Files of one folder; a header and the file that it leads to as one case, named after the header.

    Args:
        entries: of one folder.
    """
    cases = {own.files[0].name: own for own in entries if isinstance(own, Case) and len(own.files) == 1}
    taken: set[str] = set()
    whole: dict[str, Case] = {}
    for name, case in cases.items():
        part = _named(case.files[0], list(cases)) if name.lower().endswith(HEADER_SUFFIXES) else None
        if part is not None and part not in taken:
            taken.add(part)
            whole[case.id] = case._replace(files=(*case.files, cases[part].files[0]), kind="volume")
    return [
        whole.get(own.id, own)
        for own in entries
        if not (isinstance(own, Case) and len(own.files) == 1 and own.files[0].name in taken)
    ]


def part_of(path: Path, content: bytes, others: Sequence[Path]) -> Path | None:
    """Where the voxels of a header lie; None where they stand behind it.

    Args:
        path: of the header.
        content: of the header.
        others: files of the same case, which may be links, as whoever found them has followed them.

    Raises:
        UnreadableCase: `part_elsewhere`, `missing_part`, `unsupported_format`.
    """
    names = part_names(path, content)
    if names is None:
        return None
    for candidate in (path.with_name(name) for name in names):
        if candidate in others or (candidate.is_file() and not candidate.is_symlink()):
            return candidate
    raise UnreadableCase(
        "missing_part", f"the header's voxels are not beside it ({names[0]}, which may be no link); put both together"
    )


def part_names(path: Path, content: bytes) -> list[str] | None:
    """Names that the file with the voxels of a header may have; None where the content is no such header.

    Raises:
        UnreadableCase: `part_elsewhere`, `unsupported_format`.
    """
    if is_pair_header(content):
        found = re.search(r"\.hdr(\.gz)?$", path.name, re.IGNORECASE)
        stem, suffix = (path.name[: found.start()], found[0].lower()) if found else (path.name, ".hdr")
        return [stem + own for own in HALVES[suffix]]
    name = data_file(content) if is_nrrd(content) or is_meta(content) else None
    if name is None:
        return None
    if re.search(r"[/\\:\0]", name) or name in ("", ".", ".."):
        raise UnreadableCase("part_elsewhere", "the header leads to another folder; put the file with the voxels here")
    if re.search(r"%|^LIST\b", name) or not name.lower().endswith(PART_SUFFIXES):
        known = ", ".join(PART_SUFFIXES)
        raise UnreadableCase(
            "unsupported_format", f"the voxels lie in several files, or in none with a name of {known}"
        )
    return [name]


def _named(path: Path, names: Sequence[str]) -> str | None:
    """Which of the files in its folder a header leads to, if it does."""
    try:
        with path.open("rb") as file:
            wanted = part_names(path, file.read(LONGEST_HEADER)) or []
    except (OSError, UnreadableCase):  # reading the case will say so
        return None
    return next((name for name in wanted if name in names and name != path.name), None)
