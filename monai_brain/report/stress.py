"""The page of a stress test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_brain.report.figures import draw_stress
from monai_brain.report.html import Figure, Table, write_page

PAGE, FIGURE = "stress.html", "stress.png"


def write_stress_page(folder: Path, result: Mapping[str, Any]) -> None:
    """Write figure and page.

    Args:
        folder: where to.
        result: as `inference.stress.stress_folder` returns it.
    """
    draw_stress(result["corruptions"], result["measure"], folder / FIGURE)
    write_page(folder / PAGE, "Stress test", [stress_table(result), Figure(result["measure"], FIGURE)])


def stress_table(result: Mapping[str, Any]) -> Table:
    """One row for each corruption."""
    rows = [
        [
            own["name"],
            f"{', '.join(format(level['strength'], 'g') for level in own['levels'])} ({own['unit']})",
            *map(_shown, own["levels"]),
        ]
        for own in result["corruptions"]
    ]
    caption = (
        f"{result['measure'].capitalize()} of {result['slices']} slices, with 95% intervals; nothing is said of which "
        "answer is right"
    )
    return Table(caption, ["corruption", "strengths", "weak", "medium", "strong"], rows)


def _shown(level: Mapping[str, Any]) -> str:
    if level["mean"] is None:
        return "undefined"
    low, high = level["interval"]
    return f"{level['mean']:.3f} ({low:.3f} to {high:.3f})"
