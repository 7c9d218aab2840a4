"""Write how far the explanations of a data set can be trusted: a table per image, figures per class, one page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_brain.evaluation.intervals import quartiles
from monai_brain.explain.methods import METHODS
from monai_brain.explain.trust import LEAST_INSIDE
from monai_brain.io.write import manifest, write_csv, write_json
from monai_brain.labels import CLASS_NAMES, in_words
from monai_brain.report.html import Figure, Table, write_page
from monai_brain.report.slice_figures import ExplainedSlice, draw_explanations

FIGURES = {
    "inside_head": "of the mass inside the head",
    "at_border": "of the mass at the image's border",
    "removal_drop": "drop of the probability without the hottest tenth",
    "random_drop": "drop without the same region elsewhere",
}

METHOD_NAMES = {name: method.title for name, method in METHODS.items()}

SHOWN = 2
"""Slices of each class with the most, and with the least, of what is shown."""


def write_explanations(
    folder: str | Path,
    items: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    shuffled: Sequence[float | None],
    *,
    picture: Callable[[int], ExplainedSlice],
    options: Mapping[str, Any],
    class_names: Sequence[str] = CLASS_NAMES,
) -> dict[str, Any]:
    """Write what was measured.

    Args:
        folder: gets `explanations.csv`, `explanations.json`, `explanations.html`, `run.json`, and for each class that
            was given `examples_CLASS.png` and `.svg`.
        items: the images with `image` and `label`, N of them.
        rows: of each image `predicted` (class index), `probability` and the `FIGURES`, in their order; None where one
            is undefined.
        shuffled: rank correlations with the maps of a network with shuffled weights; likewise.
        picture: of one of the images, by its index.
        options: for the manifest; with `method`.
        class_names: that labels are indices of.

    Returns:
        What stands in `explanations.json`.
    """
    folder = Path(folder)
    by_class = {
        name: _figures([row for row in rows if row["predicted"] == index]) for index, name in enumerate(class_names)
    }
    right = [row["predicted"] == item["label"] for row, item in zip(rows, items, strict=True)]
    parts = {
        "all": rows,
        "right": [row for row, good in zip(rows, right, strict=True) if good],
        "wrong": [row for row, good in zip(rows, right, strict=True) if not good],
    }
    found = {
        **{name: _figures(own) for name, own in parts.items()},
        "by_predicted_class": by_class,
        "rank_correlation_with_shuffled_weights": quartiles(shuffled),
    }
    write_json(folder / "explanations.json", found)
    write_json(folder / "run.json", manifest("explanation", options))
    columns = ["path", "reference", "predicted", "probability", *FIGURES]
    write_csv(
        folder / "explanations.csv",
        columns,
        (
            {
                "path": item["image"],
                "reference": class_names[item["label"]],
                "predicted": class_names[row["predicted"]],
                **{name: "" if row[name] is None else f"{row[name]:.4f}" for name in ("probability", *FIGURES)},
            }
            for item, row in zip(items, rows, strict=True)
        ),
    )
    figures = draw_examples(
        folder,
        rows,
        "inside_head",
        "evidence inside the head",
        lambda index: (
            f"reference {in_words(class_names[items[index]['label']])}\n"
            f"{rows[index]['inside_head']:.0%} inside the head\n"
            f"drop without it {rows[index]['removal_drop']:.2f}"
        ),
        picture,
        options["method"],
        class_names,
    )
    write_page(folder / "explanations.html", "Explanations", [explanation_table(found), *figures])
    return found


def draw_examples(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    figure: str,
    words: str,
    caption: Callable[[int], str],
    picture: Callable[[int], ExplainedSlice],
    method: str,
    class_names: Sequence[str] = CLASS_NAMES,
) -> list[Figure]:
    """For each class that was given, the slices with the most and the least of a figure, as PNG and SVG.

    Args:
        folder: gets `examples_CLASS.png` and `.svg`.
        rows: of each slice `predicted` (class index), `probability` and the figure; None where it is undefined.
        figure: its key.
        words: what it is.
        caption: further lines for one of the slices, by its index.
        picture: likewise what is drawn.
        method: of `METHOD_NAMES`.
        class_names: that labels are indices of.

    Returns:
        The figures, for a page in the same folder.
    """
    figures = []
    for label, name in enumerate(class_names):
        own = [index for index, row in enumerate(rows) if row["predicted"] == label and row[figure] is not None]
        order = sorted(own, key=lambda index: -rows[index][figure])
        half = -(-len(order) // 2)  # a class of few has no slice on both sides
        most, least = order[:half][:SHOWN], order[half:][-SHOWN:]
        if not most:
            continue
        path = f"examples_{name}.png"
        title = f"Answer {in_words(name)}: most {words} ({len(most)} above), least ({len(least)} below)"
        captions = [f"{in_words(name)} {rows[index]['probability']:.2f}\n{caption(index)}" for index in (*most, *least)]
        pictures = [picture(index) for index in (*most, *least)]
        draw_explanations(pictures, captions, folder / path, title=title, method=METHOD_NAMES[method])
        figures.append(Figure(title, path))
    return figures


def explanation_table(found: Mapping[str, Any]) -> Table:
    """Medians and quartiles by class, and of right and wrong answers."""
    table = []
    for name, own in {**found["by_predicted_class"], **{key: found[key] for key in ("right", "wrong", "all")}}.items():
        cells = [_shown(own[figure]) for figure in FIGURES]
        outside = "" if own["looking_outside"] is None else f"{own['looking_outside']:.1%}"
        table.append([in_words(name), str(own["images"]), *cells, outside])
    shuffled = found["rank_correlation_with_shuffled_weights"]
    caption = (
        "Medians (quartiles), by predicted class, and of right and wrong answers. Rank correlation with the maps of "
        f"the network with shuffled weights, {shuffled['number']} images: {_shown(shuffled)}"
    )
    return Table(caption, ["", "images", *FIGURES.values(), "looking outside the head"], table)


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    inside = [row["inside_head"] for row in rows if row["inside_head"] is not None]
    return {
        "images": len(rows),
        "looking_outside": sum(value < LEAST_INSIDE for value in inside) / len(inside) if inside else None,
        **{name: quartiles([row[name] for row in rows]) for name in FIGURES},
    }


def _shown(own: Mapping[str, Any]) -> str:
    if own["median"] is None:
        return "undefined"
    low, high = own["quartiles"]
    return f"{own['median']:.2f} ({low:.2f} to {high:.2f})"
