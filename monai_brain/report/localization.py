"""Write how much of a classifier's evidence lies inside reference masks: a table per slice, means, one page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_brain.evaluation.intervals import DRAWS, interval_over_groups
from monai_brain.io.write import manifest, write_csv, write_json
from monai_brain.labels import CLASS_NAMES, in_words, index_of_no_tumor
from monai_brain.report.explanations import draw_examples
from monai_brain.report.html import Table, write_page
from monai_brain.report.slice_figures import ExplainedSlice

COLUMNS = ("path", "patient", "predicted", "probability", "inside_head", "inside_mask", "peak_in_mask", "mask_of_head")

TUMORS = "any tumor"
"""Answers of all classes but the one without a tumor; where there is such a one."""


def write_localization(
    folder: str | Path,
    items: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    *,
    picture: Callable[[int], ExplainedSlice],
    options: Mapping[str, Any],
    class_names: Sequence[str] = CLASS_NAMES,
) -> dict[str, Any]:
    """Write what was measured.

    Args:
        folder: gets `localization.csv`, `localization.json`, `localization.html`, `run.json`, and for each class that
            was given `examples_CLASS.png` and `.svg`.
        items: the slices, all of which have a tumor, with `image` and `group` (patient), N of them.
        rows: of each slice `predicted` (class index), `probability`; of its map's mass the shares `inside_head` and
            `inside_mask`, and `peak_in_mask`, whether the hottest pixel is inside (None for an empty map); and
            `mask_of_head`, the share of the head that the mask takes (None where there is no head).
        picture: of one of the slices, by its index.
        options: for the manifest; with `method`.
        class_names: that `predicted` is an index of.

    Returns:
        What stands in `localization.json`.
    """
    folder = Path(folder)
    patients = [item["group"] for item in items]
    answers = {name: [row["predicted"] == label for row in rows] for label, name in enumerate(class_names)}
    if (no_tumor := index_of_no_tumor(class_names)) is not None:
        answers[TUMORS] = [row["predicted"] != no_tumor for row in rows]
    answers["all"] = [True] * len(rows)
    found = {
        "by_answer": {name: _figures(rows, patients, np.flatnonzero(own)) for name, own in answers.items()},
        "bootstrap": f"95% percentile intervals, {DRAWS} resamples of patients",
    }
    write_json(folder / "localization.json", found)
    write_json(folder / "run.json", manifest("localization", options))
    write_csv(
        folder / "localization.csv",
        COLUMNS,
        (
            {
                **{name: "" if row[name] is None else f"{row[name]:.4f}" for name in COLUMNS[3:]},
                "path": item["image"],
                "patient": item["group"],
                "predicted": class_names[row["predicted"]],
                "peak_in_mask": "" if row["peak_in_mask"] is None else int(row["peak_in_mask"]),
            }
            for item, row in zip(items, rows, strict=True)
        ),
    )
    figures = draw_examples(
        folder,
        rows,
        "inside_mask",
        "evidence inside the mask",
        lambda index: f"{rows[index]['inside_mask']:.0%} inside the mask",
        picture,
        options["method"],
        class_names,
    )
    write_page(folder / "localization.html", "Evidence inside reference masks", [localization_table(found), *figures])
    return found


def localization_table(found: Mapping[str, Any]) -> Table:
    """Means and intervals, by the answer that was explained."""
    columns = [
        "answer",
        "slices",
        "patients",
        "mass inside the mask",
        "the mask's share of the head (chance)",
        "mass over chance",
        "hottest pixel inside the mask",
    ]
    table = [
        [
            in_words(name),
            str(own["slices"]),
            str(own["patients"]),
            *(_shown(own[key], digits) for key, digits in (("inside_mask", 3), ("mask_of_head", 3))),
            *(_shown(own[key], digits) for key, digits in (("times_chance", 1), ("peak_in_mask", 3))),
        ]
        for name, own in found["by_answer"].items()
    ]
    empty = found["by_answer"]["all"]["empty_maps"]
    caption = f"Means over slices with tumor ({found['bootstrap']}); {empty} slices whose map is empty are left out"
    return Table(caption, columns, table)


def _figures(rows: Sequence[Mapping[str, Any]], patients: Sequence[str], chosen: np.ndarray) -> dict[str, Any]:
    """Means of some slices, by their indices; None where there are none."""
    explained = [i for i in chosen if rows[i]["inside_mask"] is not None and rows[i]["mask_of_head"] is not None]
    groups = [patients[i] for i in explained]
    inside, chance, peak = (
        np.array([float(rows[i][name]) for i in explained]) for name in ("inside_mask", "mask_of_head", "peak_in_mask")
    )
    return {
        "slices": len(explained),
        "patients": len(set(groups)),
        "empty_maps": len(chosen) - len(explained),
        "inside_mask": _interval(lambda drawn: inside[drawn].mean(), groups),
        "mask_of_head": _interval(lambda drawn: chance[drawn].mean(), groups),
        "times_chance": _interval(lambda drawn: inside[drawn].mean() / max(chance[drawn].mean(), 1e-9), groups),
        "peak_in_mask": _interval(lambda drawn: peak[drawn].mean(), groups),
    }


def _interval(statistic: Callable[[np.ndarray], float], groups: Sequence[str]) -> dict[str, Any] | None:
    if not groups:
        return None
    return {"mean": float(statistic(np.arange(len(groups)))), "interval": interval_over_groups(statistic, groups)}


def _shown(own: Mapping[str, Any] | None, digits: int) -> str:
    if own is None:
        return "undefined"
    if own["interval"] is None:
        return f"{own['mean']:.{digits}f} (no interval)"
    low, high = own["interval"]
    return f"{own['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
