"""Classify every case of a folder: a row for each file found, overlays on request, nothing lost."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import Progress

from monai_brain.explain.cam import GradCAMExplainer, NoSuchLayer
from monai_brain.inference.dataset import CaseDataset
from monai_brain.inference.prediction import COLUMNS, Prediction, page_blocks, summary
from monai_brain.io import Skipped
from monai_brain.io.weights import find_weights
from monai_brain.io.write import manifest, sha256_of, write_csv, write_json, write_png
from monai_brain.labels import CLASS_NAMES
from monai_brain.report.figures import explanation_panel
from monai_brain.report.html import write_page

EXIT_GOOD, EXIT_NOTHING, EXIT_FINDINGS = 0, 2, 3

OUTPUTS = ("predictions.csv", "predictions.jsonl", "run.json", "report.html")

LONGEST_NAME_BYTES = 240
"""File systems take 255; the overlay's suffix needs room."""


class UnusableOutput(ValueError):
    """The output folder cannot be used, with the way out."""


class FolderRun:
    """A handler that turns an evaluator's batches into the outputs of a folder run.

    Args:
        folder: that was searched.
        output_dir: gets `predictions.csv`, `predictions.jsonl`, `run.json`, `report.html` and `overlays/`.
        dataset: what the evaluator's loader reads.
        explain: write a Grad-CAM overlay per case.
        cam_layer: layer that Grad-CAM looks at.
        overwrite: replace the results of an earlier run.
        console: for the progress bar; by default the standard error output.
    """

    def __init__(
        self,
        folder: str | Path | None,
        output_dir: str | Path,
        dataset: CaseDataset,
        *,
        explain: bool = False,
        cam_layer: str | None = None,
        overwrite: bool = False,
        console: Console | None = None,
    ) -> None:
        self.folder = folder
        self.output = Path(output_dir)
        self.dataset = dataset
        self.explain = explain
        self.cam_layer = cam_layer
        self.overwrite = overwrite
        self.predictions: dict[str, Prediction] = {}
        self.manifest: dict[str, Any] = {}
        self.progress = Progress(console=console or Console(stderr=True))
        self.explainer: GradCAMExplainer | None = None

    def begin(self, weights: str | Path, options: Mapping[str, Any]) -> None:
        """Check the folders and note what is about to be done; called in `run:`, before the evaluator.

        Raises:
            UnusableOutput: no input was named, or the output would mix with the input or another run.
            NoSuchLayer: an explanation is asked for, and the network has no layer for it.
        """
        if self.explain and self.cam_layer is None:
            raise NoSuchLayer("this network has no convolution that Grad-CAM could look at; leave --explain out")
        if self.folder is None:
            raise UnusableOutput("no input: name the folder of scans with --input_dir")
        source, target = Path(self.folder).resolve(), self.output.resolve()
        if source.is_relative_to(target) or target.is_relative_to(source):
            raise UnusableOutput(
                f"{self.output}: input and output lie in one another; give an output folder outside of {source}"
            )
        if (self.output / "predictions.csv").exists() and not self.overwrite:
            raise UnusableOutput(f"{self.output}: holds the results of a run; give another folder, or --overwrite")
        self.output.mkdir(parents=True, exist_ok=True)
        for name in OUTPUTS:  # an old table under a new manifest would lie
            (self.output / name).unlink(missing_ok=True)
        shutil.rmtree(self.output / "overlays", ignore_errors=True)
        file = find_weights(Path(weights))
        self.manifest = {**manifest("prediction", options), "weights_sha256": sha256_of(file)}
        write_json(self.output / "run.json", self.manifest)
        (self.output / "predictions.jsonl").write_text("", encoding="utf-8")

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose batches stay whole (`decollate: false`)."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._stop)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop_and_raise)

    def __call__(self, engine: Engine) -> None:
        """Write down a batch."""
        batch = engine.state.batch
        logits = engine.state.output["pred"].detach().float().cpu()
        probabilities = torch.softmax(logits, dim=1).numpy()
        overlays = self._explained(engine, probabilities.argmax(axis=1)) if self.explain else {}
        rows = [
            self._prediction(position, int(index), batch, probabilities[position], overlays)
            for position, index in enumerate(batch["index"])
        ]
        with (self.output / "predictions.jsonl").open("a", encoding="utf-8", errors="surrogateescape") as journal:
            journal.writelines(json.dumps(prediction._asdict(), ensure_ascii=True) + "\n" for prediction in rows)
        self.predictions |= {prediction.path: prediction for prediction in rows}
        self.progress.advance(self.task, len(rows))

    def end(self) -> int:
        """Write table, page and manifest.

        Returns:
            Exit status: 0 all good, 2 nothing to do, 3 some cases failed.
        """
        everything = [
            Prediction(entry.id, "skipped", entry.code) if isinstance(entry, Skipped) else self.predictions[entry.id]
            for entry in self.dataset.found
        ]
        write_csv(self.output / "predictions.csv", COLUMNS, (prediction.row() for prediction in everything))
        counts = summary(everything)
        write_json(self.output / "run.json", {**self.manifest, "counts": counts})
        write_page(self.output / "report.html", "Predictions", page_blocks(everything, counts))
        if counts["status"].get("error") or counts["code"].get("unreadable_folder"):
            return EXIT_FINDINGS
        return EXIT_GOOD if self.dataset.cases else EXIT_NOTHING

    def _prediction(
        self,
        position: int,
        index: int,
        batch: Mapping[str, Any],
        probabilities: np.ndarray,
        overlays: Mapping[int, str],
    ) -> Prediction:
        path, code = self.dataset.cases[index].id, batch["code"][position]
        warnings = tuple(batch["warnings"][position].split())
        if not code and not np.isfinite(probabilities).all():
            code = "non_finite_output"
        if code:
            return Prediction(path, "error", code, warnings=warnings)
        label = CLASS_NAMES[int(probabilities.argmax())]
        shown = tuple(round(float(value), 6) for value in probabilities)
        return Prediction(path, "ok", "", label, shown, warnings, overlays.get(position, ""))

    def _explained(self, engine: Engine, classes: np.ndarray) -> dict[int, str]:
        """Overlay paths by position in the batch."""
        batch = engine.state.batch
        good = [position for position, code in enumerate(batch["code"]) if not code]
        if not good:
            return {}
        if self.explainer is None:
            assert self.cam_layer is not None  # `begin` saw to it
            self.explainer = GradCAMExplainer(engine.network, self.cam_layer)
        images = engine.state.output["image"][good]
        maps = self.explainer(images, torch.as_tensor(classes[good], device=images.device)).cpu().numpy()
        written = {}
        for position, image, heat in zip(good, images.cpu().numpy(), maps, strict=True):
            name = _overlay_name(self.dataset.cases[int(batch["index"][position])].id)
            caption = f"Grad-CAM for {CLASS_NAMES[classes[position]]}"
            write_png(self.output / name, explanation_panel(_as_seen(image), heat[0], caption))
            written[position] = name
        return written

    def _start(self, engine: Engine) -> None:
        self.task = self.progress.add_task("classifying", total=len(self.dataset))
        self.progress.start()

    def _stop(self, engine: Engine) -> None:
        self.progress.stop()
        if self.explainer is not None:
            self.explainer.close()

    def _stop_and_raise(self, engine: Engine, error: BaseException) -> None:
        self._stop(engine)
        raise error


def _overlay_name(case_id: str) -> str:
    """Where a case's overlay goes: under its own relative path, or a hash where that name would be too long."""
    if len(os.fsencode(case_id.rpartition("/")[2])) > LONGEST_NAME_BYTES:
        case_id = hashlib.sha256(os.fsencode(case_id)).hexdigest()
    return f"overlays/{case_id}.png"


def _as_seen(image: np.ndarray) -> np.ndarray:
    """The network's input (C, H, W) as an 8-bit gray picture: its first channel, stretched."""
    low, high = image[0].min(), image[0].max()
    return np.rint((image[0] - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
