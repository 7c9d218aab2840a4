"""Checkpoints that survive a kill at any moment, and the best model so far."""

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events

from monai_brain.io.weights import InvalidWeights, read_checkpoint, write_weights
from monai_brain.io.write import atomic, sha256_of

KEPT = 2
"""Checkpoints kept: the newest, and the previous one in case the newest is damaged."""

NAME = re.compile(r"epoch_(\d+)\.pt")


class Checkpoints:
    """A handler that writes one checkpoint an epoch, and `model.safetensors` whenever validation was best.

    A checkpoint is written to a temporary file, flushed to disk and renamed, with its SHA-256 beside it.
    It must come after the handler that validates, so that the epoch's metric is known.

    Args:
        folder: the run's folder; checkpoints go into `checkpoints/`.
        state: what a resumed training needs, by name; each has `state_dict` and `load_state_dict`. `model` is
            the network.
        evaluator: its `state.best_metric` decides which model is best.
        settings: network and preprocessing, written into the best model's file.
    """

    def __init__(
        self, folder: str | Path, state: Mapping[str, Any], evaluator: Engine, settings: Mapping[str, Any]
    ) -> None:
        self.folder = Path(folder)
        self.state = state
        self.evaluator = evaluator
        self.settings = settings

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    @idist.one_rank_only()
    def __call__(self, trainer: Engine) -> None:
        """Write the state after a finished epoch, in the first process only."""
        best = self.evaluator.state
        if best.best_metric_epoch == trainer.state.epoch:
            write_weights(self.state["model"], self.folder / "model.safetensors", settings=self.settings)
        save_checkpoint(
            self.folder / "checkpoints" / f"epoch_{trainer.state.epoch:04d}.pt",
            {
                **{name: thing.state_dict() for name, thing in self.state.items()},
                "epoch": trainer.state.epoch,
                "key_metric_name": str(best.key_metric_name),
                "best_metric": float(best.best_metric),
                "best_metric_epoch": int(best.best_metric_epoch),
            },
        )
        _forget_old(self.folder / "checkpoints")


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values, atomically, with their SHA-256 in `<name>.sha256`."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    with atomic(path.with_name(path.name + ".sha256")) as file:
        file.write(hashlib.sha256(buffer.getvalue()).hexdigest() + "\n")
    with atomic(path, "wb") as file:
        file.write(buffer.getbuffer())


def newest_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest undamaged checkpoint.

    Args:
        folder: a run's `checkpoints/`.

    Returns:
        Its state, or None; and a line for each newer one that was damaged.
    """
    damaged: list[str] = []
    for path in sorted(_checkpoints(folder), key=_epoch, reverse=True):
        try:
            expected = path.with_name(path.name + ".sha256").read_text(encoding="utf-8").strip()
            if sha256_of(path) != expected:
                raise InvalidWeights("does not fit its SHA-256")
            return read_checkpoint(path), damaged
        except (OSError, InvalidWeights) as error:
            damaged.append(f"{path}: damaged ({error})")
    return None, damaged


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("epoch_*.pt") if NAME.fullmatch(path.name)] if folder.is_dir() else []


def _epoch(path: Path) -> int:
    match = NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _forget_old(folder: Path) -> None:
    for path in sorted(_checkpoints(folder), key=_epoch)[:-KEPT]:
        path.unlink()
        path.with_name(path.name + ".sha256").unlink(missing_ok=True)
