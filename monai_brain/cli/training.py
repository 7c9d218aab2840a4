"""The command that trains: a thin wrapper around a bundle's training workflow."""

import difflib
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_brain.cli.shared import INPUT, MODEL, OUTPUT, TRAIN, Bundle, app, console, example, existing

TRAINING = "Training"
"""Panel of options."""


@app.command(
    rich_help_panel=TRAIN,
    epilog=example(
        "index IMAGES -o IMAGES/datalist.json",
        "train --network cnn --data IMAGES -o runs/cnn",
        "train --network cnn --data IMAGES -o runs/cnn --resume --epochs 40",
    ),
)
def train(
    network: Annotated[
        str, typer.Option(help="Network from the bundle's configs/networks, such as cnn.", rich_help_panel=MODEL)
    ],
    data: Annotated[
        Path,
        typer.Option(
            envvar="MONAI_BRAIN_DATA",
            help="Folder of the images, which the datalist's paths are relative to.",
            rich_help_panel=INPUT,
        ),
    ],
    datalist: Annotated[
        Path | None,
        typer.Option(
            help="Datalist, as written by index or index-pairs.",
            show_default="datalist.json in --data",
            rich_help_panel=INPUT,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="[imagenet|none|PATH]",
            help="Weights to start from: a file, a run's folder, imagenet or none.",
            show_default="the network's",
            rich_help_panel=MODEL,
        ),
    ] = None,
    bundle: Bundle = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of epochs.", show_default="the network's", rich_help_panel=TRAINING),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set any key of train.yaml, such as batch_size=16; can be repeated.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="New folder.", show_default="BUNDLE/runs/DATE_TIME", rich_help_panel=OUTPUT
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the training in this folder.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Train a network on a folder of images."""
    existing(data, "give the folder of the images with --data")
    split = datalist or data / "datalist.json"
    existing(split, f"make one: monai-brain index {data} -o {split}")
    if output is not None and (output / "run.json").exists() and not resume:
        raise FileExistsError(f"{output}: contains a run; add --resume to continue it, or give another folder with -o")
    overrides = _settings(setting or [])
    from monai_brain.inference.apply import find_bundle, start_workflow

    place = find_bundle(bundle)
    folder = output or place / "runs" / time.strftime("%Y-%m-%d_%H-%M-%S")
    files = [place / "configs" / "train.yaml"]
    files.append(_overlay(files[0].parent / "networks", network))
    given = {"output_dir": folder, "max_epochs": epochs, "weights": weights, "resume": resume or None}
    overrides |= {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    workflow = start_workflow(files, "train", dataset_dir=str(data), datalist=str(split), **overrides)
    console.print(f"Training {network} on {data}; results go to {folder}", soft_wrap=True, markup=False)
    workflow.run()
    _print_summary(folder, data, bundle)


def _settings(given: list[str]) -> dict[str, Any]:
    """`KEY=VALUE`, values as in YAML."""
    import yaml

    found = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"--set {text}: expected KEY=VALUE, such as batch_size=16")
        found[key] = yaml.safe_load(value)
    return found


def _overlay(folder: Path, network: str) -> Path:
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if network in names:
        return folder / f"{network}.yaml"
    near = difflib.get_close_matches(network, names, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise typer.BadParameter(f"no network {network!r}{hint}; there are {', '.join(names)}")


def _print_summary(folder: Path, data: Path, bundle: Path | None) -> None:
    result = json.loads((folder / "run.json").read_text(encoding="utf-8"))["result"]
    best = next((key for key in result if key.startswith("best_val_")), None)
    if best is not None:
        name = best.removeprefix("best_val_").replace("_", " ")
        console.print(f"Best epoch: {result['best_epoch']} of {result['epochs']}, validation {name} {result[best]:.4f}")
    named = f" --bundle {bundle}" if bundle is not None else ""
    console.print(f"Folder: {folder}", soft_wrap=True, markup=False)
    console.print(f"Next: monai-brain evaluate {folder} --dataset-dir {data}{named}", soft_wrap=True, markup=False)
