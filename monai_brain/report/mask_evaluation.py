"""Score mask files of any software against reference masks: metrics.json, tables, figures and one page."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_brain.evaluation.areas import SIZES, area_agreement, size_of_each
from monai_brain.evaluation.intervals import DRAWS, FEWEST_GROUPS, with_interval
from monai_brain.evaluation.joining import GROUP_COLUMNS
from monai_brain.evaluation.mask_scores import MASK_COLUMNS, MaskPair, find_mask_pairs, score_files, score_row
from monai_brain.evaluation.resampling import Estimate, mean_estimate
from monai_brain.evaluation.segmentation import EMPTY_RULE, Overlap
from monai_brain.evaluation.subgroups import subgroups
from monai_brain.io.read import read_any_mask
from monai_brain.io.tables import InvalidTable, find_column, plain, read_table
from monai_brain.io.write import manifest, write_csv, write_json, write_png
from monai_brain.report.html import Block, Figure, Gallery, Table, write_page
from monai_brain.report.overlays import mask_panel
from monai_brain.report.score_figures import draw_bland_altman, draw_dice

SHARES = ("dice", "iou", "sensitivity", "precision")
"""Between 0 and 1."""

WORST = 6
"""Cases that are shown."""

REFERENCE_GRAY = np.uint8(90)
"""Of the reference in these pictures, which know no scan."""

INTERVALS = (
    f"95% intervals: {DRAWS} bootstrap resamples of patients; of shares on the logit scale, else with Student's t; "
    f"none below {FEWEST_GROUPS} patients. HD95 of a patient is the mean of its masks"
)


def score_masks(
    predictions: Path,
    references: Path,
    output: Path,
    *,
    id_column: str | None = None,
    group_by: str | None = None,
    patient_pattern: str | None = None,
    by: Sequence[str] = (),
    against: Path | None = None,
) -> dict[str, Any]:
    """Score masks; every label above 0 counts as tumor.

    Args:
        predictions: folder of mask files, or CSV with a column of them.
        references: likewise; matched by name.
        output: gets `metrics.json`, `cases.csv`, `patients.csv`, `run.json`, figures, `pictures/`, `report.html`.
        id_column: of the tables.
        group_by: column with the patient.
        patient_pattern: regular expression for the patient in a case's name, instead.
        by: columns whose values are subgroups.
        against: another software's masks, for a paired comparison.

    Returns:
        What stands in `metrics.json`.

    Raises:
        InvalidTable: nothing matches, or nothing can be scored.
    """
    pairs, rule = find_mask_pairs(predictions, references, id_column)
    groups, grouped_by = _groups(pairs, group_by, patient_pattern)
    rows, reasons = _rows(pairs, groups)
    if not rows:
        raise InvalidTable(f"{predictions}: no mask could be scored: {', '.join(reasons) or 'none is there'}")
    patients = _patients([row for _, row in rows])
    metrics = _metrics(rows, patients, pairs, by) | {
        "flow": {
            "reference masks": len(pairs),
            **reasons,
            "scored": len(rows),
            f"matched by {rule}": sum(pair.predicted is not None for pair in pairs),
        },
        "grouped_by": grouped_by,
        "notes": _notes(rows, patients, grouped_by, reasons),
    }
    if against is not None:
        other = find_mask_pairs(against, references, id_column)[0]
        metrics["paired"] = _paired(patients, other, dict(zip(_names(pairs), groups, strict=True)), against.name)
    write_json(output / "metrics.json", metrics)
    write_json(output / "run.json", manifest("evaluation", {"by": list(by)}))
    write_csv(output / "cases.csv", list(rows[0][1]), [row for _, row in rows])
    write_csv(output / "patients.csv", list(patients[0]), patients)
    _write_page(output, predictions.name, metrics, rows, patients)
    return metrics


def holds_masks(predictions: Path, references: Path) -> bool:
    """Whether these are masks: folders, or tables with a column of mask files in both."""
    if predictions.is_dir() or references.is_dir():
        return True
    return all(find_column(read_table(place), MASK_COLUMNS[:5]) for place in (predictions, references))


def mask_figures(metrics: Mapping[str, Any]) -> list[list[str]]:
    """The main figures of `metrics.json`, for the command line."""
    own = metrics["patients"]
    return [
        ["masks scored", f"{metrics['flow']['scored']} of {metrics['flow']['reference masks']}"],
        ["patients", str(own["number"])],
        *([f"mean {_readable(key)} of patients", _shown(own[key])] for key in ("dice", "iou", "size_bias")),
        [f"mean HD95 of patients, {metrics['hd95_unit']}", _shown(own["hd95"])],
    ]


def _names(pairs: Sequence[MaskPair]) -> list[str]:
    return [pair.case for pair in pairs]


def _groups(pairs: Sequence[MaskPair], asked: str | None, pattern: str | None) -> tuple[list[str], str | None]:
    """The patient of each pair, and by what it is known."""
    if pattern is not None:
        found = [re.search(pattern, pair.case) for pair in pairs]
        missing = next((pair.case for pair, own in zip(pairs, found, strict=True) if own is None), None)
        if missing is not None:
            raise InvalidTable(f"{missing}: the pattern {pattern!r} finds no patient in this name")
        return [own.group(own.re.groups and 1) for own in found if own], f"the pattern {pattern}"
    names = [asked] if asked is not None else GROUP_COLUMNS
    column = next((name for own in map(plain, names) for name in pairs[0].cells if plain(name) == own), None)
    if asked is not None and column is None:
        raise InvalidTable(
            f"no column {asked!r}; the tables have {', '.join(pairs[0].cells) or 'none: these are folders'}"
        )
    return [pair.cells[column] if column else pair.case for pair in pairs], column


def _rows(
    pairs: Sequence[MaskPair], groups: Sequence[str]
) -> tuple[list[tuple[MaskPair, dict[str, Any]]], dict[str, int]]:
    rows, reasons = [], Counter[str]()
    for pair, group in zip(pairs, groups, strict=True):
        score = score_files(pair)
        if isinstance(score, str):
            reasons[score] += 1
        else:
            rows.append((pair, score_row(pair, group, score)))
    return rows, dict(sorted(reasons.items()))


def _patients(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All masks of a patient together; the distance is the mean of those that have one."""
    members: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        members.setdefault(row["group"], []).append(row)
    found = []
    for group, own in members.items():
        both = sum(row["both_pixels"] for row in own)
        reference, predicted = (sum(row[f"{key}_pixels"] for row in own) for key in ("reference", "predicted"))
        together = Overlap(both, predicted - both, reference - both)
        figures = {key: getattr(together, key) for key in SHARES}
        bias = predicted / reference - 1 if reference else None
        distances = [row["hd95"] for row in own if row["hd95"] is not None]
        hd95 = float(np.mean(distances)) if distances else None
        sizes = {"reference_pixels": reference, "predicted_pixels": predicted}
        found.append({"patient": group, "masks": len(own), **figures, "hd95": hd95, "size_bias": bias, **sizes})
    return sorted(found, key=lambda row: -row["dice"])


def _metrics(
    rows: Sequence[tuple[MaskPair, Mapping[str, Any]]],
    patients: Sequence[Mapping[str, Any]],
    pairs: Sequence[MaskPair],
    by: Sequence[str],
) -> dict[str, Any]:
    cases = [row for _, row in rows]
    columns = {
        name: [pair.cells.get(name, "") for pair, _ in rows]
        for name in dict.fromkeys(k for p in pairs for k in p.cells)
    }
    units = sorted({row["hd95_unit"] for row in cases})
    found: dict[str, Any] = {
        "patients": {"number": len(patients), **_figures(patients, [row["patient"] for row in patients])},
        "masks": {"number": len(cases), **_figures(cases, [row["group"] for row in cases])},
        "hd95_unit": " and ".join(units),
        "presence": _presence(cases),
        "lesions": {key: sum(row[key] for row in cases) for key in ("lesions", "lesions_found", "lesions_invented")},
        "empty_masks": EMPTY_RULE,
        "bootstrap": INTERVALS,
        "subgroups": {
            column: [
                _subgroup(value, [cases[place] for place in places]) for value, places in subgroups(columns, column)
            ]
            for column in by
        },
    }
    if len(patients) >= FEWEST_GROUPS:
        sizes = size_of_each([row["reference_pixels"] for row in patients])
        found["subgroups"]["size of the tumor, thirds of the patients"] = [
            {
                "value": size,
                "masks": sum(row["masks"] for row in own),
                "patients": len(own),
                "dice": _as_dict(
                    mean_estimate(np.array([row["dice"] for row in own]), [row["patient"] for row in own])
                ),
            }
            for size in SIZES
            for own in [[row for row, one in zip(patients, sizes, strict=True) if one == size]]
        ]
    return found


def _figures(rows: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> dict[str, Any]:
    return {
        key: _as_dict(mean_estimate(_numbers(rows, key), groups, share=key in SHARES))
        for key in (*SHARES, "hd95", "size_bias")
    } | {"median_dice": float(np.median(_numbers(rows, "dice")))}


def _numbers(rows: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    return np.array([np.nan if row[key] is None else row[key] for row in rows], float)


def _presence(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether there is anything at all: masks with and without a reference tumor."""
    groups = [row["group"] for row in cases]
    tumor, drawn = (np.array([row[f"{key}_pixels"] > 0 for row in cases]) for key in ("reference", "predicted"))
    return {
        "with_tumor": int(tumor.sum()),
        "without_tumor": int((~tumor).sum()),
        "sensitivity": _as_dict(mean_estimate(np.where(tumor, drawn, np.nan), groups)),
        "specificity": _as_dict(mean_estimate(np.where(tumor, np.nan, ~drawn), groups)),
    }


def _subgroup(value: str, cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    patients = _patients(cases)
    dice = mean_estimate(np.array([row["dice"] for row in patients]), [row["patient"] for row in patients])
    return {"value": value, "masks": len(cases), "patients": len(patients), "dice": _as_dict(dice)}


def _paired(
    patients: Sequence[Mapping[str, Any]], pairs: Sequence[MaskPair], groups: Mapping[str, str], name: str
) -> dict[str, Any]:
    rows, _ = _rows(pairs, [groups[pair.case] for pair in pairs])
    other = {row["patient"]: row for row in _patients([row for _, row in rows])}
    both = [row for row in patients if row["patient"] in other and row["masks"] == other[row["patient"]]["masks"]]
    if not both:
        raise InvalidTable(f"{name}: no patient has the same masks in both")
    differences = np.array([row["dice"] - other[row["patient"]]["dice"] for row in both])
    estimate = mean_estimate(differences, [row["patient"] for row in both], share=False)
    better = int((differences > 0).sum())
    return {"against": name, "patients": len(both), "difference": _as_dict(estimate), "better": better}


def _notes(
    rows: Sequence[tuple[MaskPair, Mapping[str, Any]]],
    patients: Sequence[Mapping[str, Any]],
    grouped_by: str | None,
    reasons: Mapping[str, int],
) -> list[str]:
    notes = []
    if grouped_by is None:
        notes.append(
            "Nothing says which masks belong to one patient, so each counts as a patient of its own. Where patients "
            "have several, the intervals are too narrow: use --patient-pattern, or tables and --group-by."
        )
    if len(patients) < FEWEST_GROUPS:
        notes.append(f"{len(patients)} patients: too few for an interval; at least {FEWEST_GROUPS} are needed.")
    if unanswered := sum(number for reason, number in reasons.items() if reason.startswith("not answered")):
        notes.append(f"References without a usable mask: {unanswered}; the figures are those of the others.")
    if empty := sum(not row["reference_pixels"] for _, row in rows):
        notes.append(f"{empty} of {len(rows)} references are empty; the rule for them stands with the means.")
    return notes


def _as_dict(own: Estimate) -> dict[str, Any]:
    interval = None if own.interval is None else list(own.interval)
    return {"value": own.value, "interval": interval, "groups": own.groups}


def _readable(figure: str) -> str:
    return {"dice": "Dice", "iou": "IoU", "size_bias": "size bias"}.get(figure, figure)


def _shown(own: Mapping[str, Any]) -> str:
    return with_interval(own["value"], own["interval"])


def _write_page(
    output: Path,
    name: str,
    metrics: Mapping[str, Any],
    rows: Sequence[tuple[MaskPair, Mapping[str, Any]]],
    patients: Sequence[Mapping[str, Any]],
) -> None:
    draw_dice([row["dice"] for row in patients], "patients", output / "dice.png")
    blocks = [*_tables(metrics), Figure("Dice of the patients", "dice.png")]
    drawn = [row for _, row in rows if row["reference_pixels"] or row["predicted_pixels"]]
    if drawn:
        predicted, reference = ([row[f"{key}_pixels"] for row in drawn] for key in ("predicted", "reference"))
        draw_bland_altman(predicted, reference, area_agreement(predicted, reference), output / "sizes.png")
        blocks.append(Figure("Agreement of sizes, of masks with tumor in the reference or the prediction", "sizes.png"))
    blocks.append(_worst(output, rows))
    write_page(output / "report.html", f"Evaluation of masks, {name}", blocks)


def _tables(metrics: Mapping[str, Any]) -> list[Block]:
    flow = [[key, str(value)] for key, value in metrics["flow"].items()]
    blocks: list[Block] = [Table("Which masks were scored", ["", "number"], flow)]
    if metrics["notes"]:
        blocks.append(Table("Read this first", ["note"], [[note] for note in metrics["notes"]]))
    keys = (*SHARES, "hd95", "size_bias")
    columns = ["", "number", "median Dice", *map(_readable, SHARES)]
    columns += [f"HD95, {metrics['hd95_unit']}", "size bias"]
    means = [
        [what, str(own["number"]), f"{own['median_dice']:.3f}", *(_shown(own[key]) for key in keys)]
        for what, own in (("patients, all masks of one together", metrics["patients"]), ("masks", metrics["masks"]))
    ]
    presence, lesions = metrics["presence"], metrics["lesions"]
    detection = [
        [
            "anything drawn where the reference has a tumor",
            str(presence["with_tumor"]),
            _shown(presence["sensitivity"]),
        ],
        ["empty masks where the reference is empty", str(presence["without_tumor"]), _shown(presence["specificity"])],
        [
            "lesions of the reference in which anything was predicted",
            str(lesions["lesions"]),
            str(lesions["lesions_found"]),
        ],
        ["false positives: predicted components where the reference has none", "", str(lesions["lesions_invented"])],
    ]
    blocks += [
        Table(f"Means. {INTERVALS}. {metrics['empty_masks']}", columns, means),
        Table("Found or not", ["", "number", "share or number"], detection),
    ]
    for column, rows in metrics["subgroups"].items():
        cells = [[row["value"], str(row["masks"]), str(row["patients"]), _shown(row["dice"])] for row in rows]
        blocks.append(Table(f"By {column}", ["", "masks", "patients", "mean Dice of patients"], cells))
    if "paired" in metrics:
        own = metrics["paired"]
        difference = with_interval(own["difference"]["value"], own["difference"]["interval"], "+")
        cells = [[str(own["patients"]), difference, str(own["better"])]]
        columns = ["patients", "difference of mean Dice", "patients with a higher Dice"]
        blocks.append(Table(f"Against {own['against']}, paired over patients", columns, cells))
    return blocks


def _worst(output: Path, rows: Sequence[tuple[MaskPair, Mapping[str, Any]]]) -> Gallery:
    """The worst cases, on their slice with most tumor in either mask."""
    pictures = []
    for number, (pair, row) in enumerate(sorted(rows, key=lambda own: own[1]["dice"])[:WORST], 1):
        assert pair.predicted is not None
        predicted, reference = (read_any_mask(path).pixels[0] for path in (pair.predicted, pair.reference))
        if predicted.ndim == 3:
            place = int((predicted | reference).sum(axis=(1, 2)).argmax())
            predicted, reference = predicted[place], reference[place]
        path, caption = f"pictures/worst_{number}.png", f"{pair.case}: Dice {row['dice']:.3f}"
        write_png(output / path, mask_panel(REFERENCE_GRAY * reference.astype(np.uint8), reference, predicted, ""))
        pictures.append((path, caption))
    return Gallery("The worst: reference gray and orange, prediction blue, on the slice with most of both", pictures)
