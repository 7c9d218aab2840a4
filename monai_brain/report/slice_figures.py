"""Figures of slices, as they are and with what explains a network's answer."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap

from monai_brain.report.figures import new_figure, save_figure
from monai_brain.report.overlays import MASK_COLOR, overlay

LETTERS_PER_INCH = 12
"""Of a title in 10 points, at least."""

FIGURE_OPACITY = 0.7
"""Of maps in figures that are printed: more than on the screen, where the plain slice is as large beside it."""


def draw_picture_grid(rows: Sequence[Sequence[tuple[str, np.ndarray]]], path: Path) -> None:
    """Slices in rows, each under its caption.

    Args:
        rows: captions and uint8 (H, W) images.
        path: PNG file.
    """
    columns = max(len(row) for row in rows)
    figure = new_figure(1.7 * columns, 1.9 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for line, row in zip(grid, rows, strict=True):
        for axes, (caption, image) in zip(line, row, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set_title(caption, fontsize=8)
    save_figure(figure, path)


class ExplainedSlice(NamedTuple):
    """A slice and what explains a network's answer for it."""

    gray: np.ndarray
    """uint8 (H, W)."""
    heat: np.ndarray
    """(h, w) in [0, 1], 1 being the strongest evidence of this slice."""
    attention: np.ndarray | None = None
    """(h, w) in [0, 1], where the network makes such a map."""
    mask: np.ndarray | None = None
    """bool (H, W), tumor, where that is known."""


def draw_explanations(
    slices: Sequence[ExplainedSlice], captions: Sequence[str], path: Path, *, title: str, method: str
) -> None:
    """Slices in rows: as it is, its map, the attention map and the tumor's outline; for the screen and for print.

    Args:
        slices: N of them, at least one.
        captions: of each, some short lines.
        path: PNG file; the same as SVG is written beside it.
        title: above all.
        method: name of the maps.
    """
    columns = ["slice", method]
    columns += ["attention map"] if any(own.attention is not None for own in slices) else []
    columns += ["tumor mask"] if any(own.mask is not None for own in slices) else []
    width = 1.4 + 1.45 * len(columns)
    figure = new_figure(width, 1.1 + 1.47 * len(slices))
    figure.suptitle(textwrap.fill(title, int(LETTERS_PER_INCH * width)), fontsize=10)
    heights = [1.0] * len(slices) + [0.05]  # the last for color bars
    grid = figure.subplots(len(heights), len(columns), squeeze=False, height_ratios=heights)
    for line, own, caption in zip(grid[:-1], slices, captions, strict=True):
        plain = np.repeat(own.gray[..., None], 3, axis=2)
        pictures = {
            "slice": plain,
            method: overlay(own.gray, own.heat, FIGURE_OPACITY),
            "attention map": None if own.attention is None else overlay(own.gray, own.attention, FIGURE_OPACITY),
            "tumor mask": None if own.mask is None else plain,
        }
        for axes, name in zip(line, columns, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if (picture := pictures[name]) is not None:
                axes.imshow(picture)
            if own.mask is not None and name in (method, "tumor mask"):
                axes.contour(own.mask, levels=[0.5], colors=[np.divide(MASK_COLOR, 255)], linewidths=1.2)
        line[0].set_ylabel(caption, rotation=0, ha="right", va="center", fontsize=8)
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, fontsize=9)
    ramp = overlay(np.full((1, 256), 128, np.uint8), np.linspace(0, 1, 256)[None], FIGURE_OPACITY)[0]
    colors = ScalarMappable(cmap=ListedColormap(ramp / 255))  # as they are seen over middle gray
    labels = {method: "share of the slice's\nmaximum", "attention map": "weight"}
    for axes, name in zip(grid[-1], columns, strict=True):
        if name not in labels:
            axes.axis("off")
            continue
        bar = figure.colorbar(colors, cax=axes, orientation="horizontal", ticks=[0, 0.5, 1])
        bar.set_label(labels[name], fontsize=8)
        axes.tick_params(labelsize=8)
    for suffix in (".png", ".svg"):
        save_figure(figure, path.with_suffix(suffix))
