"""A training that is killed again and again ends like one that was not.

A two-phase training of VGG11 with cached features on synthetic patients is killed (kill -9) within a step, while a
file is saved, while features are written, and at the switch of phases, and resumed each time. Its newest checkpoint
must always load, and its last one must equal the uninterrupted training's to the bit.
"""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "bundles" / "brain_tumor_classification" / "configs"
PHASES = [
    {"epochs": 3, "layers": {"refinement": 1.0e-3, "classifier": 1.0e-3}},
    {"layers": {"features.16+": 1.0e-4, "refinement": 1.0e-3, "classifier": 1.0e-3}},
]
MAX_EPOCHS = 6
SWITCH = 4
"""The first epoch of the second phase."""

KINDS = {"step": 6, "saving": 8, "switch": 1, "features": 4}
"""Where a training is killed, and up to which count of such moments."""

ROUNDS_WITHOUT_A_KILL = 5
"""Until a moment counts as one that never comes: on a full disk, no features are written."""


def soak_training(folder: Path, kills: int, draw: random.Random) -> int:
    """Rounds of a training that is killed until it gets through, until there were `kills`."""
    began, done, rounds, last_killed = time.monotonic(), 0, 0, 0
    options = make_data(folder)
    reference = folder / "reference"
    run_child({**options, "output_dir": str(reference), "features_dir": str(folder / "features")}, None)
    survived: dict[str, int] = dict.fromkeys(KINDS, 0)
    while done < kills:
        if rounds - last_killed > ROUNDS_WITHOUT_A_KILL:
            sys.exit(f"{rounds - last_killed} trainings without a kill; features need more than 2 GB of free disk")
        rounds += 1
        own = {"output_dir": str(folder / f"run_{rounds}"), "features_dir": str(folder / f"features_{rounds}")}
        finished = False
        while not finished and done < kills:
            kind = list(KINDS)[done % len(KINDS)]
            killed = run_child({**options, **own}, f"{kind}:{draw.randint(1, KINDS[kind])}")
            check_newest(Path(own["output_dir"]))
            finished = not killed
            done += killed
            survived[kind] += killed
            last_killed = rounds if killed else last_killed
            print(f"round {rounds}: {kind}, {'killed' if killed else 'got through'} ({done} of {kills})", flush=True)
        if not finished:
            run_child({**options, **own}, None)
        compare(reference, Path(own["output_dir"]))
        shutil.rmtree(own["output_dir"])
        shutil.rmtree(own["features_dir"], ignore_errors=True)
    places = ", ".join(f"{kind} {count}" for kind, count in survived.items())
    seconds = time.monotonic() - began
    print(f"{done} kills ({places}) in {rounds} trainings, {seconds:.0f} s: every checkpoint loaded, weights equal")
    return 0


def make_data(folder: Path) -> dict[str, Any]:
    """Synthetic patients, a datalist and weights to start from; and the options that all trainings share."""
    import torch

    from monai_brain.data.demo import write_demo_slices
    from monai_brain.data.index import index_folder
    from monai_brain.io.weights import write_weights
    from monai_brain.io.write import write_json
    from monai_brain.networks.vgg import VGG

    write_demo_slices(folder / "slices", patients=16, slices_per_patient=3)
    found = index_folder(folder / "slices", patient_pattern=r"patient_(\d+)")
    write_json(folder / "datalist.json", found.datalist)
    torch.manual_seed(0)
    write_weights(VGG(11, 1000, "pooled"), folder / "vgg11.safetensors", dtype=torch.float16)
    return {
        "dataset_dir": str(folder / "slices"),
        "datalist": str(folder / "datalist.json"),
        "weights": str(folder / "vgg11.safetensors"),
        "image_size": 32,
        "batch_size": 8,
        "num_views": 2,
        "max_epochs": MAX_EPOCHS,
        "phases": PHASES,
    }


def run_child(options: dict[str, Any], die_at: str | None) -> bool:
    """Train in a process of its own, going on where there is something; whether it was killed as planned.

    Raises:
        SystemExit: it failed in another way.
    """
    options = {**options, "resume": (Path(options["output_dir"]) / "run.json").exists()}
    command = [sys.executable, __file__, json.dumps(options), die_at or ""]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if child.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"a resumed training failed with exit code {child.returncode}:\n{child.stderr[-3000:]}")
    return child.returncode != 0


def check_newest(run: Path) -> None:
    """The newest checkpoint must be whole, wherever the kill came.

    Raises:
        SystemExit: it is not.
    """
    from monai_brain.training.checkpoint import newest_checkpoint

    state, damaged = newest_checkpoint(run / "checkpoints")
    if damaged or (state is None and any((run / "checkpoints").glob("epoch_*.pt"))):
        sys.exit(f"{run}: {damaged or 'no checkpoint loads'}")


def compare(reference: Path, run: Path) -> None:
    """Last checkpoint, best model and metrics must equal the uninterrupted training's.

    Raises:
        SystemExit: naming what differs.
    """
    import torch

    from monai_brain.io.weights import read_checkpoint, read_weights

    name = f"checkpoints/epoch_{MAX_EPOCHS:04d}.pt"
    one, other = read_checkpoint(reference / name), read_checkpoint(run / name)
    best_one, best_other = (read_weights(folder / "model.safetensors") for folder in (reference, run))
    different = [key for key, tensor in one["model"].items() if not torch.equal(tensor, other["model"][key])]
    different += [f"best model's {key}" for key, tensor in best_one.items() if not torch.equal(tensor, best_other[key])]
    different += [key for key in ("best_metric", "best_metric_epoch", "epoch") if one[key] != other[key]]
    if different or history(reference) != history(run):
        sys.exit(f"{run}: differs from the uninterrupted training in {', '.join(different[:5]) or 'metrics.csv'}")


def history(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def train(options: dict[str, Any], die_at: str | None) -> None:
    """What the child process does: the shipped configs, with a kill -9 planted in itself."""
    from monai.bundle import ConfigWorkflow

    if die_at:
        kind, _, count = die_at.partition(":")
        plant(kind, int(count))
    files = [str(CONFIGS / "train.yaml"), str(CONFIGS / "networks" / "vgg11_refined.yaml")]
    workflow = ConfigWorkflow(config_file=files, workflow_type="train", logging_file=False, **options)
    workflow.initialize()
    workflow.run()


def plant(kind: str, count: int) -> None:
    """Kill this process at the `count`-th moment of a kind."""
    from ignite.engine import Events

    from monai_brain.training import feature_files
    from monai_brain.training.run import TrainingRun

    left = [count]

    def maybe_die() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            maybe_die()
            return function(*args, **kwargs)

        return wrapped

    if kind == "saving":  # everything is written, flushed, and not yet under its name
        os.replace = before(os.replace)
    elif kind == "features":
        feature_files.Writer.append = before(feature_files.Writer.append)  # type: ignore[method-assign]
    else:
        begin = TrainingRun.begin

        def begun(run: TrainingRun, trainer: Any) -> None:
            begin(run, trainer)
            if kind == "step":
                trainer.add_event_handler(Events.ITERATION_COMPLETED, maybe_die)
            else:
                trainer.add_event_handler(Events.EPOCH_STARTED(once=SWITCH), maybe_die)

        TrainingRun.begin = begun  # type: ignore[method-assign]


if __name__ == "__main__":  # the process that is killed
    train(json.loads(sys.argv[1]), sys.argv[2] or None)
