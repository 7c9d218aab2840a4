"""Several sequences of one head: found by their names, listed in a table, read as the channels of one volume."""

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from monai_brain.io.record import SEQUENCES, Case, Image, Skipped, UnreadableCase
from monai_brain.io.tables import InvalidTable

NAMES = {
    "t1n": "t1",
    "t1": "t1",
    "t2f": "flair",
    "flair": "flair",
    "t1c": "t1c",
    "t1ce": "t1c",
    "t1gd": "t1c",
    "t2w": "t2",
    "t2": "t2",
    "seg": "reference",
    "segm": "reference",
    "segmentation": "reference",
}
"""What stands at the end of file names in BraTS 2023 (`-t2f`), earlier (`_flair`) and elsewhere (`_T1GD`, `_Segm`), and
what it means."""

SUFFIX = re.compile(rf"(?P<stem>.+)[-_](?P<name>{'|'.join(NAMES)})\.nii(\.gz)?", re.IGNORECASE)

SAID = {
    "flair": {"flair", "t2f", "tirm", "darkfluid"},
    "t1c": {"t1c", "t1ce", "t1gd", "t1cm", "t1post", "t1wce", "cet1"},
    "t1": {"t1", "t1n", "t1w", "t1wi", "t1pre", "mprage", "spgr", "bravo"},
    "t2": {"t2", "t2w", "t2wi", "t2star"},
    "diffusion": {"dwi", "adc", "dti"},
    "susceptibility": {"swi", "swan"},
}
"""Words in names of files, folders and series, and the sequence that they mean; the first that is found counts."""

CONTRAST = {"ce", "gd", "gad", "gado", "post", "postcontrast", "contrast", "km", "c"}
"""Words that turn T1 into T1 with contrast."""

LEFT_OUT = {"t2": "unused_sequence", "reference": "reference_mask"}
"""Codes of files that belong to a gathered case and are not read for it."""

GEOMETRY_TOLERANCE_MM = 0.1
"""How far apart any two corners of two sequences' volumes may be: less than a tenth of a voxel."""

COLUMNS = ("case", "t1", "flair", "t1c", "mask")
"""The last one is for those who take volumes apart to train on them; whoever segments ignores it."""


def gather(entries: Sequence[Case | Skipped]) -> list[Case | Skipped]:
    """Files of one folder, those of one head in BraTS' names as one case that is named after its FLAIR.

    Without a FLAIR, and where a sequence is there twice, files stay cases of their own, but for reference masks, which
    are no scans.

    Args:
        entries: of one folder, each with one file.
    """
    groups: dict[str, dict[str, list[Case]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        found = SUFFIX.fullmatch(entry.id) if isinstance(entry, Case) else None
        if found:
            assert isinstance(entry, Case)
            groups[found["stem"]][NAMES[found["name"].lower()]].append(entry)
    replaced: dict[str, Case | Skipped] = {}
    for group in groups.values():
        if "flair" in group and all(len(members) == 1 for members in group.values()):
            replaced |= _merged({sequence: members[0] for sequence, members in group.items()})
        for mask in group.get("reference", ()):
            replaced[mask.id] = Skipped(mask.id, LEFT_OUT["reference"])
    changed = (replaced.get(entry.id, entry) for entry in entries)
    return [entry for entry in changed if entry is not _PART]


def named_sequence(name: str) -> str:
    """The sequence that a name speaks of, one of `SAID`; empty where it says nothing.

    Args:
        name: such as `ax_t1_post`, or a path: what stands nearest to its end counts.
    """
    for part in reversed(name.split("/")):
        words = set(re.findall(r"[a-z0-9]+", part.lower().replace("t2*", "t2star")))
        for sequence, known in SAID.items():
            if words & known:
                return "t1c" if sequence == "t1" and words & CONTRAST else sequence
    return ""


def read_table(path: Path) -> list[Case]:
    """The cases of a `cases.csv`: columns `case`, `flair` and optionally `t1`, `t1c`; paths relative to the table.

    Args:
        path: of the table; its cells may be separated by commas, semicolons or tabs.

    Raises:
        InvalidTable: a column is unknown or missing, a name is missing, there twice or holds a slash, or a FLAIR is
            missing.
    """
    cases = []
    for name, cells in _rows(path).items():
        files = {sequence: path.parent / cells[sequence] for sequence in SEQUENCES if cells.get(sequence)}
        cases.append(Case(name, tuple(files.values()), "volume", tuple(files)))
    return cases


def masks_of_table(path: Path) -> dict[str, Path]:
    """The column `mask` of a `cases.csv`, by case; see `read_table`.

    Raises:
        InvalidTable: as there.
    """
    return {name: path.parent / cells["mask"] for name, cells in _rows(path).items() if cells.get("mask")}


def _rows(path: Path) -> dict[str, dict[str, str]]:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    first_line = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=first_line.count))
    columns = [name.strip() for name in rows.fieldnames or ()]
    wrong = [name for name in columns if name not in COLUMNS]
    if wrong or not {"case", "flair"} <= set(columns):
        said = f"has the column {wrong[0]!r}" if wrong else f"has the columns {', '.join(columns)}"
        raise InvalidTable(f"{path}: {said}; it takes case and flair, and optionally t1, t1c and mask")
    rows.fieldnames = columns
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        cells = {name: (row[name] or "").strip() for name in columns}
        place = f"{path}, line {rows.line_num}"
        if not cells["case"] or not cells["flair"]:
            raise InvalidTable(f"{place}: case or flair is empty; a row needs both")
        if re.search(r"[/\\\0]", cells["case"]) or cells["case"] in (".", "..") or cells["case"] in found:
            raise InvalidTable(f"{place}: case {cells['case']!r} occurs twice or is not a plain name")
        found[cells["case"]] = cells
    return found


def stacked(volumes: Mapping[str, Image]) -> Image:
    """Volumes of one head as the channels of one.

    Args:
        volumes: by sequence, with one channel each; FLAIR is among them.

    Returns:
        The FLAIR's record; pixels (C, D, H, W), float32, in `SEQUENCES`' order.

    Raises:
        UnreadableCase: `geometry_mismatch`.
    """
    flair = volumes["flair"]
    for name, volume in volumes.items():
        check_geometry(name, volume, "flair", flair)
    channels = [name for name in SEQUENCES if name in volumes]
    warnings = tuple(dict.fromkeys(code for volume in volumes.values() for code in volume.warnings))
    pixels = np.concatenate([volumes[name].pixels for name in channels])
    return flair._replace(pixels=pixels, warnings=warnings, channels=tuple(channels))


_PART = Skipped("", "")
"""Marks a file that another entry took in."""


def _merged(group: Mapping[str, Case]) -> dict[str, Case | Skipped]:
    used = {name: group[name] for name in SEQUENCES if name in group}
    flair = group["flair"]
    files = tuple(case.files[0] for case in used.values())
    replaced: dict[str, Case | Skipped] = {case.id: _PART for case in used.values()}
    replaced[flair.id] = Case(flair.id, files, "volume", tuple(used))
    return replaced | {
        group[name].id: Skipped(group[name].id, code) for name, code in LEFT_OUT.items() if name in group
    }


def check_geometry(name: str, volume: Image, other_name: str, other: Image) -> None:
    """Refuse a volume that does not lie on the grid of another of the same head.

    Args:
        name: of the volume, for the message.
        volume: turned, as reading gives it.
        other_name: likewise.
        other: likewise; how many channels it has does not matter.

    Raises:
        UnreadableCase: `geometry_mismatch`.
    """
    if volume.pixels.shape[1:] != other.pixels.shape[1:]:
        message = f"{name} has {volume.pixels.shape[1:]} voxels, {other_name} {other.pixels.shape[1:]}"
    elif (apart := float(np.abs(_corners(volume) - _corners(other)).max())) > GEOMETRY_TOLERANCE_MM:
        message = f"corners of {name} and {other_name} lie up to {apart:.1f} mm apart"
    else:
        return
    raise UnreadableCase("geometry_mismatch", f"{message}; register them to one grid first")


def _corners(image: Image) -> np.ndarray:
    """World coordinates of a volume's eight corner voxels, millimeters."""
    if image.affine_ras is None:
        return np.zeros((8, 3))
    last = np.array(image.pixels.shape[1:]) - 1
    indices = np.stack(np.meshgrid(*([0, n] for n in last), indexing="ij"), -1).reshape(-1, 3)
    return indices @ image.affine_ras[:3, :3].T + image.affine_ras[:3, 3]
