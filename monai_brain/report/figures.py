"""Figures of matplotlib: one look, legible in print, safe for color-blind readers."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from monai_brain.io.write import atomic
from monai_brain.labels import MORE_COLORS, colors_of, in_words

DOTS_PER_INCH = 150

NAME_CHARACTERS = 32
"""After which a name goes on in a second line."""

SHORT_NAME_CHARACTERS = 15
"""Of a class, up to which names of four fit side by side."""

INCHES_PER_CLASS, INCHES_PER_CHARACTER = 0.55, 0.07
MANY = 10
"""Classes beyond which empty cells of a confusion matrix stay without a number: there are hundreds."""

MOST_INSIDE, MOST_IN_COLUMN = 6, 12
"""Lines of a legend inside the axes, and of one column beside them."""

LINE_CHARACTERS, INCHES_PER_COLUMN = 50, 3.4

LINE_STYLES = ("-", "--", ":", "-.")

LINE_COLORS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
"""Of lines that are told apart. Source: M. Okabe, K. Ito, Color Universal Design, 2008, without its yellow."""

TRAINING_COLOR, VALIDATION_COLOR, ACCURACY_COLOR = "#56B4E9", "#D55E00", "#009E73"


def draw_learning_curves(rows: Sequence[Mapping[str, Any]], path: Path, key: str = "val_macro_f1") -> None:
    """Loss and validation metrics by epoch, side by side; the best epoch is marked.

    Args:
        rows: of a run's `metrics.csv`.
        path: PNG file.
        key: the metric that chooses the best epoch.
    """
    figure = new_figure(9, 3.6)
    losses, scores = figure.subplots(1, 2)
    marker = "o" if len(rows) < 2 else None
    trained = [row["train_loss"] for row in rows]
    losses.plot([row["epoch"] for row in rows], trained, color=TRAINING_COLOR, label="training", marker=marker)
    losses.set(title="Loss", xlabel="epoch", ylabel="loss")
    scores.set(title="Validation", xlabel="epoch", ylabel="score")
    validated = [row for row in rows if key in row]  # not every epoch need be
    if validated:
        epochs = [row["epoch"] for row in validated]
        loss = [row["val_loss"] for row in validated]
        losses.plot(epochs, loss, color=VALIDATION_COLOR, label="validation", marker=marker)
        others = [name for name in validated[0] if name.startswith("val_") and name not in ("val_loss", key)]
        for name, color, style in zip([key, *others], (VALIDATION_COLOR, ACCURACY_COLOR), ("-", "--"), strict=False):
            values = [row[name] for row in validated]
            scores.plot(epochs, values, color=color, label=_readable(name), linestyle=style, marker=marker)
        values = [row[key] for row in validated]
        best = int(np.argmax(values))
        found = f"best {_readable(key)}: {values[best]:.3f} in epoch {epochs[best]}"
        scores.axvline(epochs[best], color="#999999", linewidth=1, label=found)
    for axes in (losses, scores):
        if axes.lines:
            axes.legend(edgecolor="none", framealpha=1)
        axes.xaxis.get_major_locator().set_params(integer=True)
    save_figure(figure, path)


def _readable(metric: str) -> str:
    return metric.removeprefix("val_").replace("_", " ").replace("macro f1", "macro-F1")


def draw_confusion_matrix(matrix: Sequence[Sequence[int]], class_names: Sequence[str], path: Path, title: str) -> None:
    """Counts, with the share of each reference class as shade.

    Args:
        matrix: (K, K), rows are the reference.
        class_names: K names.
        path: PNG file.
        title: above it.
    """
    more = _more(class_names)
    figure = new_figure(5.2 + more, 4.6 + more)
    axes = figure.subplots()
    shades = _matrix(axes, matrix, class_names, title)
    figure.colorbar(shades, ax=axes, label="share of the reference class", shrink=0.85)
    save_figure(figure, path)


def draw_confusion_matrices(
    matrices: Sequence[tuple[str, Sequence[Sequence[int]]]], class_names: Sequence[str], path: Path
) -> None:
    """Several confusion matrices side by side, three in a row.

    Args:
        matrices: title and (K, K) counts, rows are the reference.
        class_names: K names.
        path: PNG file.
    """
    columns = min(3, len(matrices))
    rows = -(-len(matrices) // columns)
    more = _more(class_names)
    figure = new_figure((4.2 + more) * columns, (4 + more) * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, matrix) in zip(grid, matrices, strict=False):
        _matrix(axes, matrix, class_names, textwrap.fill(title, NAME_CHARACTERS))
    for axes in grid[len(matrices) :]:
        axes.remove()
    save_figure(figure, path)


def draw_score_bars(
    scores: Sequence[tuple[str, float, Sequence[float] | None]], baselines: Sequence[tuple[str, float]], path: Path
) -> None:
    """Horizontal bars with intervals, and a line for each that needs no training.

    Args:
        scores: name, value, and the interval's low and high ends; None: there is no interval.
        baselines: names and values of the lines, at least one.
        path: PNG file.
    """
    figure = new_figure(8, 1.8 + 0.36 * len(scores))
    axes = figure.subplots()
    names = [textwrap.fill(name, NAME_CHARACTERS) for name, _, _ in scores]
    values = np.array([value for _, value, _ in scores])
    ends = np.array([interval or (value, value) for _, value, interval in scores])
    errors = np.abs(ends.T - values)
    places = range(len(names))
    axes.barh(places, values, xerr=errors, color=TRAINING_COLOR, ecolor="#333333", capsize=3, height=0.6)
    axes.set_yticks(places, names)
    for (name, value), style in zip(baselines, itertools.cycle(("--", ":", "-.")), strict=False):
        axes.axvline(value, color=VALIDATION_COLOR, linestyle=style, label=f"{name} ({value:.3f})")
    for row, value in enumerate(values):
        on_white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(ends[row, 1] + 0.004, row, f"{value:.3f}", va="center", fontsize=9, bbox=on_white)
    low = min(float(ends.min()), *(value for _, value in baselines))
    axes.set(xlabel="test macro-F1 (the axis does not begin at 0)", xlim=(max(0, low - 0.05), 1.03))
    axes.invert_yaxis()
    figure.suptitle("Test macro-F1 with 95% intervals")
    figure.legend(frameon=False, loc="outside lower center")
    save_figure(figure, path)


def draw_optimism(bars: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: Path) -> None:
    """Accuracy of a network and of the nearest neighbor by protocol, with intervals.

    Args:
        bars: by protocol, the accuracy of each with the ends of its interval.
        path: PNG file.
    """
    figure = new_figure(7, 1.2 + 0.7 * len(bars))
    axes = figure.subplots()
    for place, (name, color) in enumerate((("network", "#0072B2"), ("1-nearest-neighbor", "#E69F00"))):
        values = [own[place] for own in bars.values()]
        errors = [[v - low for v, low, _ in values], [high - v for v, _, high in values]]
        heights = np.arange(len(bars)) + (place - 0.5) * 0.36
        axes.barh(heights, [v for v, *_ in values], 0.34, xerr=errors, color=color, label=name, ecolor="#444444")
        for height, (value, _, high) in zip(heights, values, strict=True):
            axes.text(high + 0.006, height, f"{value:.3f}", va="center", fontsize=9)
    axes.set_yticks(range(len(bars)), [textwrap.fill(name, NAME_CHARACTERS) for name in bars])
    axes.invert_yaxis()
    axes.set(xlabel="accuracy", xlim=(0, 1.12))
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    save_figure(figure, path)


def draw_validation_curves(runs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], path: Path) -> None:
    """Validation macro-F1 by epoch, a line per run.

    Args:
        runs: name and rows of `metrics.csv`.
        path: PNG file.
    """
    figure = new_figure(8, 4.4)
    axes = figure.subplots()
    for number, (name, rows) in enumerate(runs):
        validated = [row for row in rows if row.get("val_macro_f1")]
        axes.plot(
            [int(row["epoch"]) for row in validated],
            [float(row["val_macro_f1"]) for row in validated],
            color=LINE_COLORS[number % len(LINE_COLORS)],
            linestyle=LINE_STYLES[number // len(LINE_COLORS) % len(LINE_STYLES)],
            marker="o" if len(validated) < 2 else None,
            label=name,
        )
    axes.set(xlabel="epoch", ylabel="validation macro-F1", title="Validation macro-F1 by epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)


def draw_roc_curves(labels: np.ndarray, probabilities: np.ndarray, auc: Mapping[str, float | None], path: Path) -> None:
    """One curve per class, that class against the rest.

    Args:
        labels: class indices, (N,).
        probabilities: (N, K).
        auc: area per class name, in the classes' order, None where it is undefined.
        path: PNG file.
    """
    figure = new_figure(5.2 + _beside(len(auc)), 4.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
    colors = colors_of(list(auc))
    for index, (name, area) in enumerate(auc.items()):
        if area is None:
            continue
        false_positive_rate, sensitivity, _ = roc_curve(labels == index, probabilities[:, index])
        axes.plot(
            false_positive_rate,
            sensitivity,
            color=colors[name],
            linestyle=LINE_STYLES[index // len(MORE_COLORS) % len(LINE_STYLES)],
            label=textwrap.fill(f"{in_words(name)} (AUC {area:.3f})", LINE_CHARACTERS),
        )
    axes.set(
        title="ROC, each class against the rest",
        xlabel="1 - specificity",
        ylabel="sensitivity",
        aspect="equal",
    )
    _name_lines(axes, len(auc), loc="lower right")
    save_figure(figure, path)


def draw_class_counts(counts: Mapping[str, Sequence[int]], class_names: Sequence[str], path: Path) -> None:
    """Images per class, a bar for each part.

    Args:
        counts: K numbers by the part's name.
        class_names: K names.
        path: PNG file.
    """
    figure = new_figure(6.4 + _more(class_names), 3.6 + _of_names(class_names))
    axes = figure.subplots()
    width = 0.8 / len(counts)
    for number, (part, values) in enumerate(counts.items()):
        place = np.arange(len(class_names)) + (number - (len(counts) - 1) / 2) * width
        color = (TRAINING_COLOR, VALIDATION_COLOR, ACCURACY_COLOR)[number % 3]
        axes.bar_label(axes.bar(place, values, width * 0.95, label=part, color=color), fontsize=7)
    _name_classes(axes.xaxis, class_names)
    axes.set(ylabel="images")
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    save_figure(figure, path)


def draw_histograms(values: Mapping[str, Sequence[float]], label: str, path: Path) -> None:
    """One outline per class over common bins.

    Args:
        values: by class name.
        label: of the horizontal axis.
        path: PNG file.
    """
    figure = new_figure(6.4 + _beside(len(values)), 3.4)
    axes = figure.subplots()
    everything = np.concatenate([np.asarray(own, float) for own in values.values()])
    bins = np.histogram_bin_edges(everything, bins=40).tolist()
    colors = colors_of(list(values))
    for name, own in values.items():
        axes.hist(
            own,
            bins,
            histtype="step",
            linewidth=1.6,
            color=colors[name],
            label=textwrap.fill(in_words(name), LINE_CHARACTERS),
        )
    axes.set(xlabel=label, ylabel="images")
    _name_lines(axes, len(values))
    save_figure(figure, path)


def draw_reliability(curves: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Accuracy by confidence, before and after calibration, side by side; below it how many predictions there are.

    Args:
        curves: by title, the bins of `evaluation.calibration.reliability`, with `low`, `high`, `number`, `confidence`
            and `accuracy`.
        path: PNG file.
    """
    figure = new_figure(4.4 * len(curves), 5)
    grid = figure.subplots(2, len(curves), height_ratios=(3, 1), sharex=True, squeeze=False)
    for (title, bins), (upper, lower) in zip(curves.items(), grid.T, strict=True):
        centers = [(own["low"] + own["high"]) / 2 for own in bins]
        width = bins[0]["high"] - bins[0]["low"]
        upper.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--", label="confidence = accuracy")
        upper.bar(centers, [own["accuracy"] for own in bins], width * 0.94, color=TRAINING_COLOR, label="accuracy")
        points = [[own[name] for own in bins] for name in ("confidence", "accuracy")]
        upper.plot(*points, color=VALIDATION_COLOR, marker="o", markersize=3, linewidth=0, label="mean of the bin")
        upper.set(title=title, xlim=(0, 1), ylim=(0, 1.02))
        lower.bar(centers, [own["number"] for own in bins], width * 0.94, color="#888888")
        lower.set(xlabel="highest probability", yscale="log")
    grid[0, 0].set(ylabel="accuracy")
    grid[1, 0].set(ylabel="predictions")
    grid[0, 0].legend(frameon=False, loc="upper left", fontsize=8)
    save_figure(figure, path)


def draw_stress(corruptions: Sequence[Mapping[str, Any]], measure: str, path: Path) -> None:
    """What each corruption does, from weak to strong, with intervals.

    Args:
        corruptions: with `name`, `unit` and `levels`, each with `strength`, `mean` and `interval`, which may be None.
        measure: name of the mean.
        path: PNG file.
    """
    columns = 4
    figure = new_figure(2.6 * columns, 2.7 * -(-len(corruptions) // columns))
    grid = figure.subplots(-(-len(corruptions) // columns), columns, squeeze=False, sharey=True)
    for axes, own in zip(grid.ravel(), corruptions, strict=False):
        levels = [level for level in own["levels"] if level["mean"] is not None]
        values = [level["mean"] for level in levels]
        errors = [[abs(level["mean"] - level["interval"][side]) for level in levels] for side in (0, 1)]
        axes.errorbar(range(len(levels)), values, errors, color="#0072B2", marker="o", capsize=3)
        axes.set_xticks(range(len(levels)), [f"{level['strength']:g}" for level in levels])
        axes.set(ylim=(-0.03, 1.03), xlim=(-0.3, len(own["levels"]) - 0.7), title=own["name"])
        axes.set_xlabel(own["unit"], fontsize=8)
    for axes in grid.ravel()[len(corruptions) :]:
        axes.remove()
    for row in grid:
        row[0].set_ylabel(measure)
    save_figure(figure, path)


def _more(class_names: Sequence[str]) -> float:
    """Inches that a figure needs beyond those for four classes of short names."""
    return INCHES_PER_CLASS * max(0, len(class_names) - 4) + _of_names(class_names)


def _of_names(class_names: Sequence[str]) -> float:
    """Inches that long names need."""
    longest = min(NAME_CHARACTERS, max(len(in_words(name)) for name in class_names))
    return INCHES_PER_CHARACTER * max(0, longest - SHORT_NAME_CHARACTERS)


def _name_classes(axis: Any, class_names: Sequence[str], rotation: int = 0) -> None:
    """Names in words: short ones as they are; long ones, or many, in lines and turned."""
    names = [in_words(name) for name in class_names]
    if len(names) > 4 or any(len(name) > SHORT_NAME_CHARACTERS for name in names):
        rotation = 90 if axis.axis_name == "x" else 0
    axis.set_ticks(range(len(names)), [textwrap.fill(name, NAME_CHARACTERS) for name in names], rotation=rotation)


def _beside(number: int) -> float:
    """Inches that the legend of so many lines needs beside the axes."""
    return INCHES_PER_COLUMN * -(-number // MOST_IN_COLUMN) if number > MOST_INSIDE else 0


def _name_lines(axes: Any, number: int, **few: Any) -> None:
    """The legend of lines for classes: beside the axes where they are many."""
    if number > MOST_INSIDE:
        columns = -(-number // MOST_IN_COLUMN)
        axes.figure.legend(frameon=False, loc="outside right center", fontsize=7, ncols=columns)
    else:
        axes.legend(frameon=False, **few)


def _matrix(axes: Any, matrix: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> Any:
    counts = np.asarray(matrix)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if not count and len(class_names) > MANY:
            continue
        color = "white" if share[row, column] > 0.55 else "black"
        text = f"{count}\n{share[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    _name_classes(axes.xaxis, class_names, rotation=20)
    _name_classes(axes.yaxis, class_names)
    axes.set(title=title, xlabel="predicted", ylabel="reference")
    axes.spines[:].set_visible(False)
    return shades


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty figure, of no window."""
    figure = Figure(figsize=(width_inches, height_inches), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the path's suffix; the same figure has the same bytes."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    kind = path.suffix.removeprefix(".")
    # neither versions nor dates nor random names
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    with atomic(path, "wb") as file, matplotlib.rc_context({"svg.hashsalt": "monai-brain"}):
        figure.savefig(file, format=kind, metadata=metadata)
