"""Split volumes with masks into training slices with masks, exactly as a network sees them."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from monai_brain.data.matching import InvalidPairs, by_place, is_mask, listed, place_of, refuse_unpaired
from monai_brain.io import Case, Skipped, UnreadableCase, find_cases, read_case
from monai_brain.io.read import read_volume_mask
from monai_brain.io.sequences import SUFFIX, masks_of_table
from monai_brain.io.write import refuse_existing, write_png
from monai_brain.transforms.load import as_8_bits, slices_of, slices_with_signal, to_network_channels

READ_THREADS = 2
"""Volumes in memory at once; unpacking releases Python's lock."""

REFERENCE = "reference_mask"
"""Code of a mask in BraTS' names, which finding cases leaves out."""

UNFOLLOWED = ("link_out", "link_loop", "dangling_link", "unreadable_folder", "special_file")
"""Codes of skipped entries that may hide a volume or a mask."""


class VolumePair(NamedTuple):
    """A volume and its mask."""

    case: Case
    mask: Path
    place: str
    """Folder and name of its slices: `PATIENT/NAME`."""


class VolumePairs(NamedTuple):
    """What a folder or table holds."""

    pairs: list[VolumePair]
    skipped: dict[str, str]
    """Codes of links and folders that were not followed, by path."""


def find_volume_pairs(place: Path) -> VolumePairs:
    """Every volume with its mask.

    Known are BraTS' names (`-t1n`, `-t2f`, `-t1c` with `-seg`), `NAME.nii.gz` beside `NAME_mask.nii.gz` or
    `NAME_seg.nii.gz`, `images/NAME.nii.gz` with `masks/NAME.nii.gz`, and a table of cases with the column `mask`.

    Args:
        place: folder, searched with everything below it; or the table.

    Raises:
        InvalidPairs: a volume has no mask or a mask no volume, two would be one, there is a slice, or no volume.
        InvalidTable, FileNotFoundError: as `io.find_cases`.
    """
    if place.is_file() and place.suffix.lower() != ".csv":
        raise InvalidPairs(f"{place}: is neither a folder nor a table of cases (.csv); give the folder that it lies in")
    entries = list(find_cases(place))
    cases = {one.id: one for one in entries if isinstance(one, Case)}
    skipped = {one.id: one.code for one in entries if isinstance(one, Skipped) and one.code in UNFOLLOWED}
    flat = sorted(name for name, case in cases.items() if case.kind != "volume")
    if flat:
        raise InvalidPairs(
            f"{place}: {listed(dict.fromkeys(flat, 'no volume by its name'))}; move them to a separate "
            "folder: slices with masks can go straight to monai-brain index-pairs"
        )
    if place.is_file():
        return VolumePairs(_of_table(place, cases), skipped)
    references = [one.id for one in entries if isinstance(one, Skipped) and one.code == REFERENCE]
    masks = by_place([*references, *(name for name in cases if is_mask(name))])
    images = by_place(name for name in cases if not is_mask(name))
    heads: dict[str, str] = {}
    for name in images.values():
        other = heads.setdefault(_head(cases[name], masks), name)
        if other != name:
            raise InvalidPairs(f"{other} and {name} would share one mask; remove one of them")
    refuse_unpaired(place, heads, masks, skipped)
    if not heads:
        raise InvalidPairs(f"{place}: no volume; expected BraTS' names, or NAME.nii.gz and NAME_mask.nii.gz")
    targets: dict[str, str] = {}
    for head, name in heads.items():
        other = targets.setdefault(_target(head), name)
        if other != name:
            raise InvalidPairs(f"slices of {other} and {name} would have the same names; rename one of them")
    pairs = [VolumePair(cases[name], place / masks[head], _target(head)) for head, name in sorted(heads.items())]
    return VolumePairs(pairs, skipped)


def write_slices(
    pairs: list[VolumePair], output: Path, log: Callable[[], None] = lambda: None, *, overwrite: bool = False
) -> dict[str, str]:
    """Write the slices that hold something, and their masks, as PNG: three channels of 8 bits, in `SEQUENCES`' order.

    `OUTPUT/PATIENT/NAME_7.png` and `_mask.png`, 0 or 255, are the eighth slice of a volume as `predict` counts them.
    A sequence that is missing is replaced by FLAIR. Every label above 0 is tumor.

    Args:
        pairs: as found.
        output: empty or missing.
        log: called after each volume.
        overwrite: see `io.write.refuse_existing`.

    Returns:
        Why volumes were left out, by id.

    Raises:
        FileExistsError: the folder holds something already.
    """
    refuse_existing(output, overwrite=overwrite)
    refused = {}
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for pair, refusal in zip(pairs, pool.map(lambda pair: _write(pair, output), pairs), strict=True):
            if refusal:
                refused[pair.case.id] = refusal
            log()
    return refused


def _write(pair: VolumePair, output: Path) -> str:
    """The reason for a failure, or nothing."""
    try:
        image = as_8_bits(read_case(pair.case))
        mask = read_volume_mask(pair.mask, image)
    except UnreadableCase as refusal:
        return f"{refusal} ({refusal.code})"
    slices = slices_of(image)
    for index in slices_with_signal(image.pixels):
        pixels, _ = to_network_channels(slices[index], gray=False)
        write_png(output / f"{pair.place}_{index}.png", np.moveaxis(pixels, 0, -1))
        write_png(output / f"{pair.place}_{index}_mask.png", mask[index] * np.uint8(255))
    return ""


def _of_table(table: Path, cases: dict[str, Case]) -> list[VolumePair]:
    masks = masks_of_table(table)
    lonely = sorted(set(cases) - set(masks))
    if lonely:
        raise InvalidPairs(f"{table}: {len(lonely)} case(s) without a mask, such as {lonely[0]}; add the column mask")
    return [VolumePair(case, masks[name], f"{name}/{name}") for name, case in cases.items()]


def _head(case: Case, masks: Mapping[str, str]) -> str:
    """The place of a head; of one in BraTS' names without the sequence, unless its mask has that too."""
    found = SUFFIX.fullmatch(case.id) if case.sequences else None
    own = place_of(case.id)
    return place_of(f"{found['stem']}.nii") if found and own not in masks else own


def _target(head: str) -> str:
    """The patient of a volume is its folder; a volume outside any folder is a patient by itself."""
    path = PurePosixPath(head)
    return head if len(path.parts) > 1 else f"{head}/{head}"
