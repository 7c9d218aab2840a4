"""Apply a network to every case of a folder: a row for each file found, files on request, nothing lost."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import Progress

from monai_brain.inference.prediction import FIRST_COLUMNS, LAST_COLUMNS, Prediction, page_blocks, summary
from monai_brain.inference.stream import CaseStream
from monai_brain.inference.task import Task
from monai_brain.io import Case, Skipped
from monai_brain.io.weights import find_weights
from monai_brain.io.write import manifest, sha256_of, write_csv, write_json
from monai_brain.report.html import write_page

EXIT_GOOD, EXIT_NOTHING, EXIT_FINDINGS = 0, 2, 3

OUTPUTS = ("predictions.csv", "predictions.jsonl", "run.json", "report.html")


class UnusableOutput(ValueError):
    """The output folder cannot be used, with the way out."""


class FolderRun:
    """A handler that turns an evaluator's batches into the outputs of a folder run.

    Args:
        folder: that was searched.
        output_dir: gets `predictions.csv`, `predictions.jsonl`, `run.json`, `report.html` and the task's folders.
        stream: what the evaluator's loader reads.
        task: what becomes of the network's outputs.
        overwrite: replace the results of an earlier run.
        console: for the progress bar; by default the standard error output.
    """

    def __init__(
        self,
        folder: str | Path | None,
        output_dir: str | Path,
        stream: CaseStream,
        task: Task,
        *,
        overwrite: bool = False,
        console: Console | None = None,
    ) -> None:
        self.folder = folder
        self.output = Path(output_dir)
        self.stream = stream
        self.task = task
        self.overwrite = overwrite
        self.predictions: dict[str, Prediction] = {}
        self.manifest: dict[str, Any] = {}
        self.progress = Progress(console=console or Console(stderr=True))
        self.bar = self.progress.add_task(task.verb, total=len(stream.cases))
        stream.choose = task.choose

    def check(self) -> None:
        """Check the folders, before anything takes time; first in `run:`.

        Raises:
            UnusableOutput: no input was named, or the output would mix with the input or another run.
        """
        if self.folder is None:
            raise UnusableOutput("no input: name the folder of scans with --input_dir")
        self.task.begin(self.output, self.stream.cases)
        source, target = Path(self.folder).resolve(), self.output.resolve()
        if source.is_relative_to(target) or target.is_relative_to(source):
            raise UnusableOutput(
                f"{self.output}: input and output lie in one another; give an output folder outside of {source}"
            )
        if (self.output / "predictions.csv").exists() and not self.overwrite:
            raise UnusableOutput(f"{self.output}: holds the results of a run; give another folder, or --overwrite")

    def begin(self, weights: str | Path, options: Mapping[str, Any]) -> None:
        """Clear the output and note what is about to be done; in `run:`, before the evaluator."""
        self.output.mkdir(parents=True, exist_ok=True)
        for name in OUTPUTS:  # an old table under a new manifest would lie
            (self.output / name).unlink(missing_ok=True)
        for name in self.task.folders:
            shutil.rmtree(self.output / name, ignore_errors=True)
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
        """Take in a batch; write down the cases that it completes."""
        batch = engine.state.batch
        indices, positions = batch["case"].tolist(), batch["slice"].tolist()
        cases = [self.stream.open[index] for index in indices]
        for opened, position, own in zip(cases, positions, self.task.keep(engine, cases), strict=True):
            opened.outputs[position] = own
        done = [
            self.task.finish(self.stream.open.pop(index), engine)
            for index in dict.fromkeys(indices)
            if self.stream.open[index].is_complete
        ]
        self._write([*done, *self._refused()])

    def end(self) -> int:
        """Write table, page and manifest.

        Returns:
            Exit status: 0 all good, 2 nothing to do, 3 some cases failed.
        """
        self._write(self._refused())
        everything = [self._row_of(entry) for entry in self.stream.found]
        columns = (*FIRST_COLUMNS, *self.task.columns, *LAST_COLUMNS)
        rows = (prediction.row(self.task.columns) for prediction in everything)
        write_csv(self.output / "predictions.csv", columns, rows)
        counts = summary(everything)
        write_json(self.output / "run.json", {**self.manifest, "counts": counts})
        blocks = page_blocks(everything, counts, self.task.on_page, self.task.pictures)
        write_page(self.output / "report.html", "Predictions", blocks)
        if counts["status"].get("error") or counts["code"].get("unreadable_folder"):
            return EXIT_FINDINGS
        return EXIT_GOOD if self.stream.cases else EXIT_NOTHING

    def _row_of(self, entry: Case | Skipped) -> Prediction:
        if isinstance(entry, Skipped):
            return Prediction(entry.id, "skipped", entry.code)
        return self.predictions[entry.id]

    def _refused(self) -> list[Prediction]:
        """Rows of the cases that were refused since the last time."""
        refused, self.stream.refused = self.stream.refused, {}
        return [Prediction(self.stream.cases[index].id, "error", why.code) for index, why in refused.items()]

    def _write(self, rows: list[Prediction]) -> None:
        with (self.output / "predictions.jsonl").open("a", encoding="utf-8", errors="surrogateescape") as journal:
            journal.writelines(json.dumps(prediction._asdict(), ensure_ascii=True) + "\n" for prediction in rows)
        self.predictions |= {prediction.path: prediction for prediction in rows}
        if rows:
            self.progress.advance(self.bar, len(rows))

    def _start(self, engine: Engine) -> None:
        self.progress.start()

    def _stop(self, engine: Engine) -> None:
        self.progress.stop()
        self.task.close()

    def _stop_and_raise(self, engine: Engine, error: BaseException) -> None:
        self._stop(engine)
        raise error
