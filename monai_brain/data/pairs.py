"""Slices with masks: find the pairs in a folder, check them, split them by patient."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from monai_brain.data.matching import InvalidPairs, by_place, is_mask, listed, place_of, refuse_unpaired, shown
from monai_brain.data.splits import load_datalist
from monai_brain.io import Case, Skipped, UnreadableCase, find_cases
from monai_brain.io.read import read_image, read_mask

TCGA = re.compile(r"TCGA_([A-Z0-9]{2})_\w+")
"""Patients of The Cancer Genome Atlas, whose name holds the institution."""

HARMLESS = ("sidecar", "folder", "linked_folder")
"""Codes of skipped files that cannot hide a slice."""

SAME_CONTENT = "same_content_as_before"

VALIDATION_SHARE = 0.15

READ_THREADS = 4


class Pair(NamedTuple):
    """A slice and its mask."""

    image: str
    """Relative to the folder, with `/`."""
    mask: str
    patient: str
    institution: str
    """Empty if unknown."""
    tumor_pixels: int


class Pairs(NamedTuple):
    """What a folder holds."""

    pairs: list[Pair]
    refused: dict[str, str]
    """Slices that are not used, by their code, and links and folders that were not followed."""


class Checked(NamedTuple):
    """A slice and its mask, read."""

    tumor_pixels: int = 0
    content: bytes = b""
    """Hash of the slice's pixels."""
    code: str = ""
    """Why the slice cannot be used."""


def find_pairs(folder: Path, *, patient_pattern: str | None = None) -> Pairs:
    """Find every slice and its mask.

    Two layouts are supported, in any image format: `NAME.tif` next to `NAME_mask.tif` (LGG), and `images/NAME.png`
    with `masks/NAME.png` at the same relative path. In the first, the folder of a slice is its patient: its path, or
    its name alone if that is a patient of The Cancer Genome Atlas, so that copies count as one patient.

    Args:
        folder: folder to search, including its subfolders.
        patient_pattern: regular expression on the image's relative path; its first group is the patient.

    Raises:
        InvalidPairs: a slice has no mask or a mask has no slice; a mask differs in size or has other than two values;
            a patient is unknown; two patients have the same image; the folder has volumes, or no pairs.
    """
    patient_of = _patients(patient_pattern)
    entries = list(find_cases(folder))
    volumes = [one.id for one in entries if isinstance(one, Case) and one.kind == "volume"]
    if volumes:
        raise InvalidPairs(
            f"{folder}: holds volumes ({shown(volumes)}); split them into slices first: "
            f"monai-brain slices {folder} -o SLICES, then monai-brain index-pairs SLICES"
        )
    cases = {case.id: case.files[0] for case in entries if isinstance(case, Case)}
    refused = {one.id: one.code for one in entries if isinstance(one, Skipped) and one.code not in HARMLESS}
    masks = by_place(identity for identity in cases if is_mask(identity))
    images = by_place(identity for identity in cases if not is_mask(identity))
    refuse_unpaired(folder, images, masks, refused)
    with ThreadPoolExecutor(READ_THREADS) as pool:
        checked = list(pool.map(lambda place: _check(folder, images[place], masks[place]), sorted(images)))
    found = [(images[place], masks[place], own) for place, own in zip(sorted(images), checked, strict=True)]
    pairs, left_out = _distinct(found, patient_of)
    refused |= left_out
    if not pairs:
        raise InvalidPairs(f"{folder}: no slice with a mask; {_why_none(refused)}")
    return Pairs(pairs, refused)


def _distinct(
    found: Iterable[tuple[str, str, Checked]], patient_of: Callable[[str], str]
) -> tuple[list[Pair], dict[str, str]]:
    """Pairs of slice and mask that can be used, each picture once; and the codes of the others."""
    refused: dict[str, str] = {}
    pairs: list[Pair] = []
    first_of: dict[bytes, Pair] = {}
    for image, mask, own in found:
        if own.code:
            refused[image] = own.code
            continue
        patient = patient_of(image)
        known = TCGA.match(PurePosixPath(patient).name)
        pair = Pair(image, mask, patient, known[1] if known else "", own.tumor_pixels)
        first = first_of.setdefault(own.content, pair)
        if first.patient != patient:
            raise InvalidPairs(
                f"{first.image} and {image} are the same image, of the patients {first.patient} and {patient}; "
                "remove one of them, or give a pattern that identifies the patients"
            )
        if first is not pair:
            refused[image] = SAME_CONTENT
            continue
        pairs.append(pair)
    return pairs, refused


def fold_of_patients(pairs: Iterable[Pair], folds: int, seed: int = 0) -> dict[str, int]:
    """A fold for every patient, with about as many of each institution in every fold.

    Raises:
        InvalidPairs: fewer patients than folds.
    """
    by_institution = defaultdict(set)
    for pair in pairs:
        by_institution[pair.institution].add(pair.patient)
    patients = sum(map(len, by_institution.values()))
    if not 2 <= folds <= patients:
        raise InvalidPairs(f"{folds} folds of {patients} patients; give 2 to {patients}")
    random = np.random.default_rng(seed)
    order = [p for own in sorted(by_institution) for p in random.permutation(sorted(by_institution[own]))]
    return {str(patient): number % folds for number, patient in enumerate(order)}


class Split(NamedTuple):
    """Patients as a file splits them."""

    folds: dict[str, int]
    """The fold of every patient that may be used for model selection."""
    held_out: frozenset[str] = frozenset()
    """Held-out patients, in no fold."""


def read_split(path: Path) -> Split:
    """The fold of every patient, from a file with `folds`, and those of its list `test`, if it has one.

    Raises:
        InvalidPairs: it is no such file, or a patient is in a fold and held out.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folds = {str(patient): int(fold) for patient, fold in content["folds"].items()}
        held_out = frozenset(map(str, content.get("test", [])))
    except FileNotFoundError:
        raise InvalidPairs(f"{path}: no such split") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidPairs(f"{path}: expected JSON with folds: {{patient: number}}") from None
    if both := sorted(held_out & set(folds)):
        raise InvalidPairs(f"{path}: {both[0]} is in a fold and held out; remove it from one ({len(both)} in all)")
    return Split(folds, held_out)


def split_pairs(
    pairs: Sequence[Pair],
    *,
    fold: int = 0,
    folds: int = 4,
    split: Path | None = None,
    held_out: bool = False,
    institution: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """A datalist whose test part is one fold, the patients that a file holds out, or one institution.

    Patients that a file holds out are in no part when a fold is tested.

    Args:
        pairs: of one folder.
        fold: the one that is tested.
        folds: how many there are, unless `split` says.
        split: a file with the fold of every patient, see `read_split`.
        held_out: test the patients that it holds out.
        institution: tested instead of a fold.
        seed: of the folds and of the choice of validation patients.

    Raises:
        InvalidPairs: no such fold or institution, both an institution and a file, nobody held out, or file and
            folder have other patients.
    """
    patients = {pair.patient: pair.institution for pair in pairs}
    if institution is not None:
        if split is not None:
            raise InvalidPairs("an institution is left out, or the folds of a file are taken; give one of the two")
        known = sorted(set(patients.values()) - {""})
        if institution not in known:
            raise InvalidPairs(f"no patient of institution {institution!r}; there are {', '.join(known) or 'none'}")
        test = [patient for patient, own in patients.items() if own == institution]
        return segmentation_datalist(pairs, test, name=f"without_{institution}", seed=seed)
    of_patient, last = read_split(split) if split is not None else Split(fold_of_patients(pairs, folds, seed))
    if odd := sorted((set(of_patient) | last) ^ set(patients)):
        raise InvalidPairs(f"{split}: has other patients than the folder, such as {odd[0]} ({len(odd)} in all)")
    if held_out:
        if split is None or not last:
            raise InvalidPairs("no patient is held out; give a file with a list `test` with --split")
        return segmentation_datalist(pairs, last, name=f"{split.stem}_held_out", seed=seed)
    pairs = [pair for pair in pairs if pair.patient in of_patient]
    if fold not in of_patient.values():
        raise InvalidPairs(f"no fold {fold}; there are {', '.join(map(str, sorted(set(of_patient.values()))))}")
    test = [patient for patient, own in of_patient.items() if own == fold]
    return segmentation_datalist(pairs, test, name=f"{split.stem if split else 'folds'}_fold_{fold}", seed=seed)


def segmentation_datalist(
    pairs: Sequence[Pair], test_patients: Iterable[str], *, name: str, seed: int = 0
) -> dict[str, Any]:
    """MONAI's datalist: no patient in two parts.

    Args:
        pairs: of one folder.
        test_patients: who is tested; of the others, 15 % of each institution's patients validate.
        name: of the split.
        seed: of the choice of validation patients.

    Raises:
        InvalidPairs: no patient would be left to test, to validate or to train.
    """
    test = set(test_patients)
    left = defaultdict(set)
    for pair in pairs:
        if pair.patient not in test:
            left[pair.institution].add(pair.patient)
    random = np.random.default_rng(seed)
    validation: set[str] = set()
    for institution in sorted(left):
        drawn = random.permutation(sorted(left[institution]))
        validation |= {str(patient) for patient in drawn[: round(VALIDATION_SHARE * len(drawn))]}
    if not validation and sum(map(len, left.values())) > 1:  # too few of each institution for 15 %
        validation = {min(patient for own in left.values() for patient in own)}
    part_of = {
        pair.patient: "test" if pair.patient in test else "validation" if pair.patient in validation else "training"
        for pair in pairs
    }
    datalist: dict[str, Any] = {"name": name, "task": "segmentation", "grouping": "patient"}
    for part in ("training", "validation", "test"):
        own = [pair for pair in pairs if part_of[pair.patient] == part]
        if not own:
            raise InvalidPairs(f"no patient is left for {part}; {len(part_of)} patients are too few for this split")
        datalist[part] = [_item(pair) for pair in own]
    return datalist


def load_tumor_slices(path: str | Path | None, dataset_dir: str | Path, part: str) -> list[dict[str, Any]]:
    """The slices of a datalist whose masks hold a tumor, with paths made absolute.

    Args:
        path: the datalist; None: none was named.
        dataset_dir: folder that its paths are relative to.
        part: as `data.splits.load_datalist`.

    Raises:
        InvalidPairs: no datalist, or one of slices without masks or without a tumor.
        InvalidDatalist: see `load_datalist`.
    """
    if path is None:
        raise InvalidPairs("no slices with masks: name their datalist with --external, see monai-brain index-pairs")
    items = load_datalist(path, dataset_dir, part)
    if any("tumor_pixels" not in item or not isinstance(item["label"], str) for item in items):
        raise InvalidPairs(f"{path}: has slices without masks; make it with monai-brain index-pairs")
    with_tumor = [item for item in items if item["tumor_pixels"]]
    if not with_tumor:
        raise InvalidPairs(f"{path}: no slice of {part} has a tumor; name other parts with --part")
    return with_tumor


def count_by_part(datalist: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Slices, slices with tumor, and patients of each part."""
    return {
        part: (
            len(datalist[part]),
            sum(item["tumor_pixels"] > 0 for item in datalist[part]),
            len({item["group"] for item in datalist[part]}),
        )
        for part in ("training", "validation", "test")
    }


def _item(pair: Pair) -> dict[str, Any]:
    item: dict[str, Any] = {"image": pair.image, "label": pair.mask, "group": pair.patient}
    if pair.institution:
        item["institution"] = pair.institution
    return {**item, "tumor_pixels": pair.tumor_pixels}


def _why_none(refused: Mapping[str, str]) -> str:
    if not refused:
        return "expected NAME.tif with NAME_mask.tif, or images/ and masks/"
    return f"not used: {listed(refused)}"


def _check(folder: Path, image: str, mask: str) -> Checked:
    try:
        pixels = read_image(folder / image).pixels
    except UnreadableCase as refusal:
        return Checked(code=refusal.code)
    try:
        tumor = read_mask(folder / mask)
    except UnreadableCase as refusal:
        raise InvalidPairs(f"{mask}: {refusal} ({refusal.code}); repair it, or remove it and {image}") from None
    shape = pixels.shape[1:]
    if tumor.shape != shape:
        raise InvalidPairs(f"{image} is {shape[0]}x{shape[1]}, {mask} is {tumor.shape[0]}x{tumor.shape[1]}")
    content = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode() + np.ascontiguousarray(pixels).tobytes())
    return Checked(int(tumor.sum()), content.digest())


def _patients(pattern: str | None) -> Callable[[str], str]:
    """The patient of an image, by its relative path."""
    if pattern is None:
        return _patient_of_folder
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InvalidPairs(f"the pattern {pattern!r} is not a regular expression ({error})") from None

    def patient(image: str) -> str:
        found = expression.search(image)
        name = found and (found[1] if found.groups() else found[0])
        if not name:
            raise InvalidPairs(f"{image}: the pattern {pattern!r} finds no patient in this path")
        return name

    return patient


def _patient_of_folder(image: str) -> str:
    parent = PurePosixPath(place_of(image)).parent
    if parent.as_posix() == ".":
        raise InvalidPairs(f"{image}: which patient is it? Put slices into a folder per patient, or give a pattern")
    return parent.name if TCGA.fullmatch(parent.name) else parent.as_posix()
