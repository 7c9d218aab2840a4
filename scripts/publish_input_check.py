"""Write docs/limits.md: what the input check refuses, of pictures that no fitting saw.

python scripts/publish_input_check.py WEIGHTS --images NICKPARVAR --folds classification_v2.json --heads KAGGLE_3M
    --split segmentation_v2.json --others PICTURES --elsewhere HEADS

WEIGHTS is a folder of weights with an input check beside them. PICTURES holds pictures that show no MR head
(photographs, CT, other parts of the body), folders of volumes in HEADS are named `with_skull` and
`skull_stripped`, their files after patient and sequence, `one_flair.nii.gz`.
"""

import argparse
import csv
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import torch
from fit_input_check import part_of
from input_check_images import SEQUENCES, Picture, lgg_slices, other_pictures, public_slices
from publishing import table_section
from scipy.stats import binomtest

from monai_brain.evaluation.input_check import KINDS, LEAST_STRIPPED, PLANES, InputCheck, find_input_check, thumbnail
from monai_brain.evaluation.intervals import group_bootstrap
from monai_brain.inference.apply import predict_folder
from monai_brain.inference.classification import slices_with_head
from monai_brain.inference.patients import FOLDER_REFUSED, PATIENT_REFUSED
from monai_brain.io import Case, UnreadableCase, find_cases, read_case
from monai_brain.io.read import read_image
from monai_brain.io.sequences import named_sequence
from monai_brain.io.weights import find_weights
from monai_brain.labels import in_words
from monai_brain.report.html import Table
from monai_brain.transforms.load import as_8_bits, to_network_channels

PAGE = Path(__file__).resolve().parents[1] / "docs" / "limits.md"
RENDERED, RENDERED_SEED = 400, 1
TIMED = 100
GOOD_REFUSED = (0.005, 0.01, 0.02, 0.05, 0.10)
"""Shares at which the curve is read."""

TEXT = """# What the classifier refuses to answer

Before a class is shown, the input check examines every slice. Is it an MR slice of a head? Which sequence and plane
does it show? Was the skull removed? Is it like the slices that the classifier was trained on? If it finds a reason not
to give a class, the case gets none: its status is `abstained`, its code is `not_a_head`, `other_sequence`,
`skull_stripped` or `unlike_training`, and the probabilities are still reported. `--answer-anyway` gives the class, with
that code as a warning. A sequence named in a DICOM header or a file name takes precedence over the pixels; the results
here use the pixels alone.

The check is a network with {parameters} weights and {side}x{side} input pixels, the same for every engine. It was
trained on folds 1 to 3 of the public set's Cheng slices (T1 with contrast), on the three sequences of the LGG patients
that have all of them and are not held out, on {by_eye} slices of the public set whose sequence was labeled by eye
(except those in folds 4 and 5), on axial heads whose skull was removed by simulation, and on photographs, noise, shapes
and text. Its thresholds were chosen on validation slices. None of the pictures below were used for this. A 512x512
slice takes {milliseconds:.1f} ms on one core. Intervals are 95%, over patients or pictures.

The targets are to refuse at least 0.95 of pictures that show no head, at least 0.90 of FLAIR, T2 and plain T1, and at
most 0.02 of post-contrast T1 with skull. The threshold is the lowest one that meets the first two targets on validation
slices with 95% confidence. This rule was chosen after the slices below had been scored with two stricter settings,
which refused 0.023 and 0.028 of post-contrast T1 with skull, and 0.952 and 0.948 of plain T1; so the results may be
slightly optimistic.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    for name in ("--images", "--folds", "--heads", "--split", "--others", "--elsewhere"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    check = find_input_check(find_weights(options.weights))
    if check is None:
        raise SystemExit(f"{options.weights}: no input check lies there; python scripts/fit_input_check.py fits one")
    public = list(public_slices(options.images, options.folds))
    lgg = list(lgg_slices(options.heads, options.split))
    own = [one for one in [*public, *lgg] if part_of(one) == "test"]
    rendered = [one for one in other_pictures(RENDERED, RENDERED_SEED) if one.source != "photograph"]
    pictures = [*own, *pictures_of(options.others), *rendered, *heads_elsewhere(options.elsewhere)]
    scores = check.of_thumbnails(np.stack([one.pixels for one in pictures]))
    by_eye = sum(bool(one.kind) and one.source == "other" for one in public)
    parameters = sum(own.numel() for own in check.network.parameters())
    side, milliseconds = pictures[0].pixels.shape[0], milliseconds_a_slice(check)
    lines = [TEXT.format(parameters=parameters, side=side, by_eye=by_eye, milliseconds=milliseconds)]
    lines += [
        table_section("What is refused", refusals(check, pictures, scores)),
        table_section("By class of the public set", by_class(check, pictures, scores)),
        table_section("Whole volumes", volumes(check, pictures, scores)),
        table_section("Refusals by threshold", curve(pictures, scores)),
        table_section("Plane and skull", plane_and_skull(pictures, scores)),
        flair_section(check, lgg, options.weights),
        "## Command\n```\n" + __doc__.split("\n\n")[1] + "\n```\n",
    ]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def milliseconds_a_slice(check: InputCheck) -> float:
    """Time of one core."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    slices = [np.random.default_rng(0).integers(0, 255, (512, 512), np.uint8)] * TIMED
    began = time.process_time()
    check(slices)
    return (time.process_time() - began) / TIMED * 1000


def pictures_of(folder: Path) -> Iterator[Picture]:
    """What can be read there; what cannot gets no class anyway."""
    for case in find_cases(folder):
        if isinstance(case, Case):
            try:
                image = as_8_bits(read_case(case))
            except UnreadableCase:
                continue
            yield Picture(thumbnail(to_network_channels(image, gray=True)[0][0]), "not_a_head", "files", case.id, 0)


def heads_elsewhere(folder: Path) -> Iterator[Picture]:
    """Slices with enough head of the volumes of other data sets; their source is named after their folder."""
    for path in sorted(folder.rglob("*.nii.gz")):
        volume = as_8_bits(read_case(Case(path.name, (path,), "volume"))).pixels
        for index in slices_with_head(volume):
            pixels, patient = thumbnail(volume[0, index]), path.name.rpartition("_")[0]
            yield Picture(pixels, named_sequence(path.name), path.parent.name, patient, 0, plane="axial")


def is_refused(check: InputCheck, scores: np.ndarray) -> bool:
    return bool(check.reason(scores).code)


def refusals(check: InputCheck, pictures: Sequence[Picture], scores: np.ndarray) -> Table:
    """Share refused by what pictures show and where they come from."""
    refused = np.array([is_refused(check, own[None]) for own in scores])
    rows = []
    for kind in KINDS:
        sources = sorted({one.source for one in pictures if one.kind == kind})
        total = "all with skull" if kind == KINDS[0] else "all"  # the classifier was not trained on others
        for source in [*sources, total]:
            asked = [own for own in sources if source in (own, "all") or (source == total and own != "skull_stripped")]
            chosen = [i for i, one in enumerate(pictures) if one.kind == kind and one.source in asked]
            groups = [f"{pictures[i].source} {pictures[i].group}" for i in chosen]
            if kind == "not_a_head":
                groups = [str(i) for i in chosen]
            share = with_interval(refused[chosen], groups)
            rows.append((kind, source, str(len(chosen)), str(len(set(groups))), share))
    caption = (
        "Share of slices that get no class. `cheng` and `lgg` are held-out patients of the Cheng and LGG sets; `other` "
        "are slices of the public set whose sequence was labeled by eye; `with_skull` and `skull_stripped` are heads "
        "from other data sets; `files` are pictures of other things; the rest are computer-generated"
    )
    return Table(caption, ("shows", "source", "slices", "patients or pictures", "refused"), rows)


def with_interval(refused: np.ndarray, groups: Sequence[str]) -> str:
    """A share with its interval over groups; where all or none are refused, the exact one of so many groups."""
    share = float(refused.mean())
    if share in (0, 1):
        number = len(set(groups))
        low, high = binomtest(number if share else 0, number).proportion_ci()
    else:
        low, high = group_bootstrap(lambda drawn: float(refused[drawn].mean()), groups)
    return f"{share:.3f} ({low:.3f} to {high:.3f})"


def by_class(check: InputCheck, pictures: Sequence[Picture], scores: np.ndarray) -> Table:
    """Refusals of the public set's held-out fold by class and by what the check sees."""
    reasons = [check.reason(own[None]) for own in scores]
    rows = []
    for label in sorted({one.label for one in pictures if one.label}):
        own = [reason for one, reason in zip(pictures, reasons, strict=True) if one.label == label]
        seen = Counter(reason.sequence if reason.code == "other_sequence" else reason.code or "class" for reason in own)
        words = ", ".join(f"{name} {number}" for name, number in seen.most_common())
        rows.append((in_words(label), str(len(own)), f"{1 - seen['class'] / len(own):.3f}", words))
    caption = (
        'Fold 5 of the public set. Its class "no tumor" contains T2, FLAIR, plain T1 and CT as well as '
        "post-contrast T1; "
        "therefore many of its slices are rightly refused. The last column says what the check recognizes; "
        "`class` means "
        "that it finds no objection and the slice gets a class"
    )
    return Table(caption, ("class", "slices", "refused", "outcome"), rows)


def volumes(check: InputCheck, pictures: Sequence[Picture], scores: np.ndarray) -> Table:
    """Refusals of whole volumes, whose slices count together."""
    named = [
        ((one.kind, one.source, one.group), own)
        for one, own in zip(pictures, scores, strict=True)
        if one.source in ("lgg", "with_skull", "skull_stripped")
    ]
    named.sort(key=lambda pair: pair[0])
    outcome: dict[tuple[str, str], list[bool]] = {}
    for (kind, source, _), own in groupby(named, key=lambda pair: pair[0]):
        outcome.setdefault((kind, source), []).append(is_refused(check, np.stack([scores for _, scores in own])))
    rows = [(kind, source, str(len(own)), str(sum(own))) for (kind, source), own in outcome.items()]
    return Table(
        "The check decides on all slices of a volume together", ("shows", "source", "volumes", "refused"), rows
    )


def plane_and_skull(pictures: Sequence[Picture], scores: np.ndarray) -> Table:
    """How often plane and skull are seen right, by what is true."""
    planes = scores[:, len(KINDS) : len(KINDS) + len(PLANES)].argmax(axis=1)
    is_stripped = scores[:, -2] >= LEAST_STRIPPED
    rows = []
    for plane in PLANES:
        chosen = [index for index, one in enumerate(pictures) if one.plane == plane]
        right = planes[chosen] == PLANES.index(plane)
        rows.append((f"{plane} plane", *counted_right(right, [pictures[index] for index in chosen])))
    for skull, sources in (("with skull", ("cheng", "lgg", "with_skull")), ("skull removed", ("skull_stripped",))):
        chosen = [index for index, one in enumerate(pictures) if one.source in sources]
        right = is_stripped[chosen] == (skull == "skull removed")
        rows.append((skull, *counted_right(right, [pictures[index] for index in chosen])))
    caption = "Planes of Cheng's slices were labeled by eye; the other heads with a known plane are axial"
    return Table(caption, ("shows", "slices", "patients or pictures", "recognized correctly"), rows)


def counted_right(right: np.ndarray, pictures: Sequence[Picture]) -> tuple[str, str, str]:
    """Number of slices and of groups, and the share that is right."""
    groups = [f"{one.source} {one.group}" for one in pictures]
    return str(len(right)), str(len(set(groups))), with_interval(right, groups)


def curve(pictures: Sequence[Picture], scores: np.ndarray) -> Table:
    """Refused good against refused bad, for other limits of the probability."""
    kept = [index for index, one in enumerate(pictures) if one.source != "skull_stripped"]
    scores, kinds = scores[kept], np.array([pictures[index].kind for index in kept])
    rows = []
    for share in GOOD_REFUSED:
        limit = np.quantile(scores[kinds == KINDS[0], 0], share)
        refused = [f"{(scores[kinds == kind, 0] < limit).mean():.3f}" for kind in KINDS[1:]]
        rows.append((f"{share:.3f}", f"{limit:.3f}", *refused))
    columns = (f"share of {KINDS[0]} refused", "threshold", *KINDS[1:])
    return Table(
        "Share of slices refused at different thresholds of the check's probability; skull-stripped heads are left out",
        columns,
        rows,
    )


def flair_section(check: InputCheck, lgg: Sequence[Picture], weights: Path) -> str:
    """What the classifier says of the held-out patients' FLAIR slices, with their patients known and unknown."""
    flair = [one for one in lgg if one.kind == "flair" and part_of(one) == "test"]
    patients = {one.group for one in flair}
    with tempfile.TemporaryDirectory() as scratch:
        for number, one in enumerate(flair):
            folder = Path(scratch) / "scans" / one.group
            folder.mkdir(parents=True, exist_ok=True)
            slice_in_flair = read_image(Path(one.path)).pixels[SEQUENCES.index("flair")]
            cv2.imwrite(str(folder / f"{number}.png"), slice_in_flair)
        known = answered_of(Path(scratch), weights, "^[^/]+")
        unknown = answered_of(Path(scratch), weights, None)
        with_class = [row["patient"] for row in read_rows(Path(scratch) / "out" / "patients.csv") if row["label"]]
    labels = ", ".join(f"{in_words(name)} {number}" for name, number in Counter(row["label"] for row in known).items())
    return (
        f"\n## Gliomas in FLAIR\nOf {len(flair)} FLAIR slices of {len(patients)} held-out LGG patients, {len(known)} "
        f"get a class ({labels or 'none'}). If patients are named (`--patient-pattern`), {len(with_class)} of "
        "them get a class in `patients.csv`. Called no tumor without a warning:\n\n| patients | slices |\n|---|---|\n"
        f"| named (`{PATIENT_REFUSED}`) | {silent(known)} |\n"
        f"| unknown, a folder for each (`{FOLDER_REFUSED}`) | {silent(unknown)} |\n\n"
        "A slice given alone, as on the page, cannot have these warnings.\n"
    )


def answered_of(scratch: Path, weights: Path, pattern: str | None) -> list[dict[str, str]]:
    """Rows with a class."""
    output = scratch / ("out" if pattern else "out_unknown")
    predict_folder(scratch / "scans", output, weights=str(weights), patient_pattern=pattern, workers=0)
    return [row for row in read_rows(output / "predictions.csv") if row["status"] == "ok"]


def silent(rows: Sequence[dict[str, str]]) -> int:
    """Slices called no tumor without a warning of the others."""
    expected = {PATIENT_REFUSED, FOLDER_REFUSED}
    return sum(row["label"] == "notumor" and not expected & set(row["warnings"].split()) for row in rows)


def read_rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
