"""A run that was divided among processes or machines, put together again."""

import json
import os
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from monai_brain.inference.classification import Classification
from monai_brain.inference.folder import JOURNAL, MANIFEST, ORDER, InvalidOutput, write_results
from monai_brain.inference.journal import marked, parsed
from monai_brain.inference.pages import REVIEW
from monai_brain.inference.prediction import Prediction
from monai_brain.inference.segmentation import Segmentation
from monai_brain.inference.sets import sets_of_run
from monai_brain.inference.task import Task
from monai_brain.inference.thumbnails import THUMBNAILS
from monai_brain.io.write import write_json
from monai_brain.labels import CLASS_NAMES


def merge_parts(output: Path) -> dict[str, Any]:
    """Make one table and one page of the parts below a folder; the table is that of an undivided run.

    Args:
        output: holds `part_1_of_N` to `part_N_of_N`; gets the table, the page, the manifest and the parts' files.

    Returns:
        Counts of cases, and of each status, label and code.

    Raises:
        InvalidOutput: a part is missing or not finished, or parts were run with other options.
    """
    folders = sorted(output.glob("part_*_of_*"), key=lambda path: int(path.name.split("_")[1]))
    if not folders:
        raise InvalidOutput(f"{output}: holds no part_1_of_N; run predict with --part 1/N and so on first")
    count = int(folders[0].name.split("_")[3])
    missing = [n for n in range(1, count + 1) if output / f"part_{n}_of_{count}" not in folders]
    if missing or len(folders) != count:
        raise InvalidOutput(f"{output}: expected parts 1 to {count} of {count}, missing {missing}; run --part for them")
    manifests = [_finished(folder) for folder in folders]
    first = _identity(manifests[0])
    other = [f.name for f, one in zip(folders, manifests, strict=True) if _identity(one) != first]
    if other:
        raise InvalidOutput(f"{output}: {', '.join(other)} ran with other options or weights than {folders[0].name}")
    tables = [list(_rows(folder)) for folder in folders]
    rows = [row for group in zip_longest(*tables) for row in group if row is not None]
    task = _task(manifests[0])
    for folder in folders:
        _move_files(folder, output, (*task.folders, THUMBNAILS))
    review = any((folder / REVIEW).is_file() for folder in folders)
    counts = write_results(output, lambda: _all_marked(rows), task, review=review)
    write_json(output / MANIFEST, {**manifests[0], "counts": counts, "parts": count})
    return counts


def _task(run: Mapping[str, Any]) -> Task | type[Task]:
    """What the run was for, by its manifest; runs of before there were other classes do not name them."""
    if run["task"] == "segmentation":
        return Segmentation
    task = Classification(class_names=run.get("labels", CLASS_NAMES))
    return task.use_calibration(sets_of_run(run, MANIFEST), run["options"].get("patient_pattern"))


def _identity(run: Mapping[str, Any]) -> dict[str, Any]:
    """What parts have in common; where folders lie is each machine's own, and weights are known by their hash."""
    options = {name: own for name, own in run["options"].items() if name not in ("input_dir", "weights", "calibration")}
    return {"options": options, "weights_sha256": run["weights_sha256"], "task": run["task"]}


def _finished(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "counts" not in content:
        raise InvalidOutput(f"{folder}: not finished; run its --part again to continue it")
    return content


def _rows(folder: Path) -> Iterator[Prediction]:
    """A part's rows in their order, without the marks that only a whole table can have."""
    with (folder / JOURNAL).open("rb") as file:
        known = {row.path: row for row in map(parsed, file) if row is not None}
    for path, code in json.loads((folder / ORDER).read_text(encoding="utf-8")):
        yield Prediction(path, "skipped", code) if code else known[path]


def _all_marked(rows: list[Prediction]) -> Iterator[Prediction]:
    seen: set[bytes] = set()
    return (marked(row, seen) for row in rows)


def _move_files(folder: Path, output: Path, names: Any) -> None:
    for name in names:
        for path in sorted((folder / name).rglob("*")):
            if path.is_file():
                target = output / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)  # noqa: PTH105
