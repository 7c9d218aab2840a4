"""The run folder of a training: manifest, datalist, per-epoch metrics and curves."""

import csv
import json
import logging
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events

from monai_brain.data.splits import PARTS, identities, read_datalist
from monai_brain.io import settings
from monai_brain.io.write import atomic, manifest, sha256_of, write_csv, write_json
from monai_brain.report.figures import draw_learning_curves
from monai_brain.training.checkpoint import Checkpoints, newest_checkpoint

METRICS = ("val_loss", "val_accuracy", "val_macro_f1")
"""Metrics of a classifier's evaluator."""


MAY_CHANGE = ("max_epochs", "patience", "weights", "cache_features")
"""Options that may change when a run is resumed; weights were loaded when it began."""


LEARNED_FROM = "learned_from"
"""In the manifest of weights that are handed out: digests of `data.splits.seen_by_weights`, with spaces between."""


logger = logging.getLogger(__name__)


class RunExists(FileExistsError):
    """The output folder already contains a training run."""


class CannotResume(ValueError):
    """The run cannot be resumed as requested; the message says what to do."""


class TrainedOnTestPart(ValueError):
    """The initial weights were trained on slices that this training will be evaluated on."""


class TrainingRun:
    """Keeps a run folder: what was measured and checkpoints after every epoch, curves at the end.

    Args:
        folder: made if missing; must not hold another run unless `resume`.
        datalist: the split, copied into the folder.
        network: what is trained.
        optimizer: its highest learning rate of each epoch is noted.
        state: what a resumed training needs besides the network, by name; each has `state_dict` and
            `load_state_dict`.
        evaluator: its metrics are noted; the trainer must run it when an epoch completes.
        options: what the user chose, for the manifest.
        resume: go on where the newest whole checkpoint stands.
        metrics: names of the evaluator's metrics that are noted, the columns of `metrics.csv`.
    """

    def __init__(
        self,
        folder: str | Path,
        datalist: str | Path,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        state: Mapping[str, Any],
        evaluator: Engine,
        options: Mapping[str, Any],
        resume: bool = False,
        metrics: Sequence[str] = METRICS,
    ) -> None:
        self.metrics = list(metrics)
        self.folder = Path(folder)
        self.datalist = Path(datalist)
        self.optimizer = optimizer
        self.state = {"model": network, **state}
        self.evaluator = evaluator
        self.options = dict(options)
        self.resume = resume
        self.rows: list[dict[str, Any]] = []
        self.manifest: dict[str, Any] = {}
        self.loss_sum = 0.0
        self.highest_rate = 0.0

    def begin(self, trainer: Engine) -> None:
        """Make the folder, or take up what it holds, and listen to the trainer; called in `run:` before it runs.

        Args:
            trainer: is set to go on after the last finished epoch. Its own handlers, the validation among
                them, come first when an epoch completes.

        Raises:
            RunExists: there is a run already, and `resume` is false.
            CannotResume: it is finished, was started with other data or settings, or no checkpoint is whole.
            UnsafeSettings: the network or preprocessing could not be handed on to evaluation and inference.
            TrainedOnTestPart: `weights` is a run that learned from slices of this one's other parts.
        """
        refuse_seen(self.datalist, str(self.options.get("training_part", "training")), self.options.get("weights"))
        recorded = settings.record()
        settings.check(recorded, "the configuration")
        self.manifest = {
            **manifest("training", self.options),
            "datalist_sha256": sha256_of(self.datalist),
            "settings": recorded,
            "trained_parameters": sum(p.numel() for group in self.optimizer.param_groups for p in group["params"]),
        }
        self.was_finished = False
        if (self.folder / "run.json").exists():
            if not self.resume:
                raise RunExists(
                    f"{self.folder}: contains a run; add --resume true to continue it, or give another --output_dir"
                )
            self._refuse_other_run(trainer)
            self._take_up(trainer)
            if self.was_finished and self._is_over(trainer):
                raise CannotResume(
                    f"{self.folder}: is finished; to train on, raise --max_epochs, and --patience if it stopped early"
                )
        idist.barrier()  # no process may find what another has just begun
        self._write_beginning()
        if self._is_over(trainer):
            self._end(trainer)
            _run_nothing(trainer)
            return
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._note_step)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        # after the row is written: a checkpoint never knows more epochs than metrics.csv
        Checkpoints(self.folder, self.state, self.evaluator, recorded).attach(trainer)
        trainer.add_event_handler(Events.COMPLETED, self._end)

    def _is_over(self, trainer: Engine) -> bool:
        """Whether a resumed run was stopped after its last epoch, before it wrote its result."""
        waited = any(getattr(t, "counter", 0) >= getattr(t, "patience", math.inf) for t in self.state.values())
        return trainer.state.epoch > 0 and (trainer.state.epoch >= trainer.state.max_epochs or waited)

    @idist.one_rank_only()
    def _write_beginning(self) -> None:
        content = self.datalist.read_bytes()
        with atomic(self.folder / "datalist.json", "wb") as file:
            file.write(content)
        write_json(self.folder / "run.json", self.manifest)

    def _refuse_other_run(self, trainer: Engine) -> None:
        before = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        # older runs do not record the classes, which are the datalist's
        classes = {key: value for key, value in self.manifest["settings"].items() if key == "class_names"}
        before["settings"] = classes | before.get("settings", {})
        for key, what in (("datalist_sha256", "datalist"), ("settings", "network or preprocessing")):
            if before.get(key) != self.manifest[key]:
                raise CannotResume(
                    f"{self.folder}: was started with another {what}; give the same value, or another --output_dir"
                )
        options = json.loads(json.dumps(self.options))
        for key, value in before["options"].items():
            if key in options and key not in MAY_CHANGE and options[key] != value:
                raise CannotResume(f"{self.folder}: was started with {key} {value}, not {options[key]}; give the same")
        if options.get("annealing") == "cosine" and options.get("max_epochs") != before["options"].get("max_epochs"):
            trainer.logger.warning("max_epochs has changed: the annealed learning rate goes on along another curve")
        self.was_finished = "result" in before
        # what it began with is what it is; this command is one of those that went on
        self.manifest["options"]["weights"] = before["options"].get("weights", self.options.get("weights"))
        self.manifest["resumed"] = [*before.get("resumed", []), self.manifest["command"]]
        self.manifest["command"] = before["command"]

    def _take_up(self, trainer: Engine) -> None:
        saved, damaged = newest_checkpoint(self.folder / "checkpoints")
        for line in damaged:
            trainer.logger.warning(line)
        if saved is None:
            if damaged:
                raise CannotResume(f"{self.folder}: no checkpoint is whole; start anew in another --output_dir")
            return  # it was stopped in its first epoch
        if saved["epoch"] > trainer.state.max_epochs:
            raise CannotResume(f"{self.folder}: has {saved['epoch']} epochs already; to train on, raise --max_epochs")
        for name, thing in self.state.items():
            thing.load_state_dict(saved[name])
        trainer.load_state_dict(
            {
                "epoch": saved["epoch"],
                "max_epochs": trainer.state.max_epochs,
                "epoch_length": trainer.state.epoch_length,
            }
        )
        self.evaluator.state.key_metric_name = saved.get("key_metric_name", self.evaluator.state.key_metric_name)
        self.evaluator.state.best_metric = saved["best_metric"]
        self.evaluator.state.best_metric_epoch = saved["best_metric_epoch"]
        self.rows = [row for row in read_history(self.folder) if row["epoch"] <= saved["epoch"]]

    def _start_epoch(self, engine: Engine) -> None:
        self.loss_sum = self.highest_rate = 0.0
        self.began = time.perf_counter()

    def _note_step(self, engine: Engine) -> None:
        self.loss_sum += float(engine.state.output["loss"].detach())
        # not at the epoch's end: validation has lowered it for the next one by then, or annealing to nearly nothing
        self.highest_rate = max(self.highest_rate, *(group["lr"] for group in self.optimizer.param_groups))

    def _end_epoch(self, engine: Engine) -> None:
        validated = self.evaluator.state.epoch == engine.state.epoch
        metrics = self.evaluator.state.metrics if validated else {}
        self.rows.append(
            {
                "epoch": engine.state.epoch,
                "train_loss": round(self.loss_sum / engine.state.epoch_length, 6),
                **{name: round(float(metrics[name]), 6) for name in self.metrics if name in metrics},
                "learning_rate": self.highest_rate,
                "seconds": round(time.perf_counter() - self.began, 2),
            }
        )
        if idist.get_rank() == 0:
            columns = ["epoch", "train_loss", *self.metrics, "learning_rate", "seconds"]
            write_csv(self.folder / "metrics.csv", columns, self.rows)

    @idist.one_rank_only()
    def _end(self, engine: Engine) -> None:
        best = self.evaluator.state
        draw_learning_curves(
            self.rows, self.folder / "curves.png", best.key_metric_name
        )  # here: drawing costs half a second
        model = self.folder / "model.safetensors"
        self.manifest["result"] = {
            "epochs": engine.state.epoch,
            "best_epoch": best.best_metric_epoch,
            f"best_{best.key_metric_name}": best.best_metric,
            "seconds": round(sum(row["seconds"] for row in self.rows), 1),
            "weights_sha256": sha256_of(model) if model.is_file() else None,
        }
        write_json(self.folder / "run.json", self.manifest)


def trained_part(run: str | Path) -> str:
    """The parts of its datalist that a run was trained on, joined by `+`."""
    for path in (Path(run) / "run.json", Path(run) / "models" / "run.json"):  # a run, or a bundle with weights
        if path.is_file():
            options = json.loads(path.read_text(encoding="utf-8"))["options"]
            return str(options.get("training_part", "training"))
    return "training"


def refuse_seen(datalist: str | Path, training_part: str, weights: str | None) -> None:
    """Refuse initial weights that were trained on slices of other parts of the datalist.

    Args:
        datalist: of the training that begins.
        training_part: parts of it that are trained on, joined by `+`.
        weights: to start from: a run's folder or a bundle's, a file in one, or anything else, of which nothing is
            known.

    Raises:
        TrainedOnTestPart: naming the part, and how many of its images they were trained on.
    """
    own = read_datalist(datalist)
    seen = _seen_by(weights)
    for part in PARTS:
        both = sum(not seen.isdisjoint(names) for names in identities(own, part))
        if both and part not in training_part.split("+"):
            raise TrainedOnTestPart(
                f"{weights}: was trained on {both} images of this datalist's {part} part, whose figures would say "
                "nothing; go on from a run with the same split"
            )


def _seen_by(weights: str | None) -> set[str]:
    """Of what the weights learned from, `identities`; of weights that are handed out as far as they say it."""
    place = Path(weights or "none")
    start = place if place.is_dir() else place.parent
    if not place.exists():
        return set()
    if (start / "run.json").is_file() and (start / "datalist.json").is_file():
        return set().union(*identities(read_datalist(start / "datalist.json"), trained_part(start)))
    for manifest_path in (start / "models" / "run.json", start / "run.json"):
        if manifest_path.is_file():
            return set(json.loads(manifest_path.read_text(encoding="utf-8")).get(LEARNED_FROM, "").split())
    return set()


def warn_of_seen(datalist: str | Path, part: str, weights: str | Path) -> None:
    """Warn if weights are evaluated on slices that they were trained on; see `refuse_seen`."""
    seen = _seen_by(str(weights))
    both = sum(not seen.isdisjoint(names) for names in identities(read_datalist(datalist), part))
    if both:
        logger.warning(
            "%s: was trained on %d images of the %s part: the figures say nothing about others", weights, both, part
        )


def _run_nothing(trainer: Engine) -> None:
    """MONAI's workflow returns at once, with a warning, where an epoch has no length; ignite would begin anew."""
    trainer.state.epoch_length = 0
    warnings.filterwarnings("ignore", message="`dataloader` is empty")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.csv`, numbers as numbers; empty where there is none."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [{**row, "epoch": int(row["epoch"])} for row in rows]
