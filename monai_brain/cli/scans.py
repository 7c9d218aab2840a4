"""Commands for scans: apply a network, put parts together, serve the page, say what is here."""

import json
import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from monai_brain.cli.shared import (
    EXIT_FINDINGS,
    EXIT_NOTHING,
    INPUT,
    MODEL,
    OTHER,
    OUTPUT,
    PATIENT_PATTERN,
    PREDICT,
    SPEED,
    Bundle,
    Weights,
    app,
    completing,
    console,
    errors,
    example,
    existing,
    one_of,
)

EXPLANATION, CLASSES, MASKS, SERVER = "Explanation", "Classes (classifier only)", "Masks (segmenter only)", "Server"
"""Panels of options."""

METHODS = ("gradcam", "gradcam++", "occlusion", "attention")
ENGINES = ("torch", "onnx", "openvino", "auto")
PRECISIONS = ("fp32", "bf16", "int8", "auto")
"""Named here too, since the library's own are seconds away; tests hold both equal."""


class PagePrecision(StrEnum):
    """Precisions of the torch engine, which the page uses."""

    FP32 = "fp32"
    BF16 = "bf16"


@app.command(
    rich_help_panel=PREDICT,
    epilog=example(
        "predict SCANS -o OUT --explain", "predict SCANS -o OUT --bundle brain_tumor_segmentation --overlays"
    ),
)
def predict(
    folder: Annotated[
        Path, typer.Argument(metavar="SCANS", help="Folder of scans, one file, or a table of cases (cases.csv).")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder for the table, page, pictures and masks.", rich_help_panel=OUTPUT),
    ],
    recursive: Annotated[
        bool | None,
        typer.Option(
            "--recursive/--no-recursive",
            help="Search subfolders too.",
            show_default="recursive",
            rich_help_panel=INPUT,
        ),
    ] = None,
    glob: Annotated[
        str | None,
        typer.Option(
            help="Use only files whose path ends with this pattern, such as '*.png' or 'flair/*.nii'.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    follow_links: Annotated[
        bool | None,
        typer.Option(
            "--follow-links",
            help="Follow symbolic links that lead out of the folder; use only if you trust them.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Process one part, such as 2/4, to share the work among machines; see the merge command.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    bundle: Bundle = None,
    weights: Weights = None,
    explain: Annotated[
        bool | None,
        typer.Option(
            "--explain", help="Write a picture per case that shows where the evidence is.", rich_help_panel=EXPLANATION
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="[gradcam|gradcam++|occlusion|attention]",
            parser=one_of("explanations", METHODS),
            autocompletion=completing(METHODS),
            help="Method for --explain; segmenters support only gradcam and gradcam++.",
            show_default="gradcam",
            rich_help_panel=EXPLANATION,
        ),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            metavar="[FIRST:END|all]",
            help="Slices of a volume to classify: 40:60 takes slices 40 to 59, counted from 0.",
            show_default="those with enough head",
            rich_help_panel=CLASSES,
        ),
    ] = None,
    answer_anyway: Annotated[
        bool | None,
        typer.Option(
            "--answer-anyway",
            help="Give a class even if the input check objects; the reason becomes a warning.",
            rich_help_panel=CLASSES,
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=0.99,
            help="How often the set of classes should contain the true one; needs a calibration.",
            show_default="0.9",
            rich_help_panel=CLASSES,
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="[none|PATH]",
            help="Calibration file, as written by calibrate; none for uncalibrated probabilities.",
            show_default="beside the weights",
            rich_help_panel=CLASSES,
        ),
    ] = None,
    patient_pattern: Annotated[
        str | None, typer.Option(help=f"Also give one class per patient. {PATIENT_PATTERN}", rich_help_panel=CLASSES)
    ] = None,
    masks: Annotated[
        bool | None,
        typer.Option("--masks/--no-masks", help="Write a mask per case.", show_default="masks", rich_help_panel=MASKS),
    ] = None,
    overlays: Annotated[
        bool | None,
        typer.Option("--overlays", help="Write a picture per case with a tumor.", rich_help_panel=MASKS),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Probability above which a pixel counts as tumor.",
            show_default="the weights' own",
            rich_help_panel=MASKS,
        ),
    ] = None,
    smallest_area: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Smallest mask component to keep in a slice, in mm2 (in pixels if the spacing is unknown).",
            show_default="0",
            rich_help_panel=MASKS,
        ),
    ] = None,
    smallest_volume: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Smallest mask component to keep in a volume, in mm3 (in voxels if the spacing is unknown).",
            show_default="0",
            rich_help_panel=MASKS,
        ),
    ] = None,
    force: Annotated[
        bool | None,
        typer.Option(
            "--force", help="Also outline sequences that the weights were not trained on.", rich_help_panel=MASKS
        ),
    ] = None,
    deidentify: Annotated[
        bool | None,
        typer.Option(
            "--deidentify",
            help="Replace patient data and UIDs in DICOM masks; the key is written beside the output folder.",
            rich_help_panel=MASKS,
        ),
    ] = None,
    overwrite: Annotated[
        bool | None,
        typer.Option("--overwrite", help="Replace earlier results in the output folder.", rich_help_panel=OUTPUT),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help="Also extend a finished run: add new and changed files, and retry those that could not be reached.",
            show_default="continue an interrupted run only",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    review: Annotated[
        bool | None,
        typer.Option(
            "--review",
            help="Also write a page on which a reader records answers; see the agree command.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON, for programs.", rich_help_panel=OUTPUT)
    ] = False,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="[torch|onnx|openvino|auto]",
            parser=one_of("engines", ENGINES),
            autocompletion=completing(ENGINES),
            help=(
                "Software that runs the network; auto: torch, or the fastest installed engine for 2,000 or more slices."
            ),
            show_default="auto",
            rich_help_panel=SPEED,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="[fp32|bf16|int8|auto]",
            parser=one_of("engines", PRECISIONS),
            autocompletion=completing(PRECISIONS),
            help="bf16: torch and openvino only; int8: openvino only; auto (any of them): --engine auto only.",
            show_default="fp32",
            rich_help_panel=SPEED,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="[cpu|cuda|cuda:N]",
            help="Device of the torch engine.",
            show_default="a GPU if there is one",
            rich_help_panel=SPEED,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Slices per batch.", show_default="32; of the segmenter 8", rich_help_panel=SPEED),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of processes that open files; 0: only this process.",
            show_default="one per four cores",
            rich_help_panel=SPEED,
        ),
    ] = None,
) -> None:
    """Classify or segment every slice and volume in a folder.

    A file that cannot be read gets a row with an error code.
    """
    existing(folder, "give the folder that holds the scans")
    from monai_brain.inference.apply import predict_folder
    from monai_brain.inference.options import FolderRunOptions
    from monai_brain.inference.stream import folder_of_part

    options = FolderRunOptions(
        weights=weights,
        part=part,
        recursive=recursive,
        glob=glob,
        follow_links=follow_links,
        explain=explain,
        method=method,
        review=review,
        overwrite=overwrite,
        resume=resume,
        slices=slices,
        answer_anyway=answer_anyway,
        coverage=coverage,
        calibration=calibration,
        patient_pattern=patient_pattern,
        masks=masks,
        overlays=overlays,
        threshold=threshold,
        smallest_area=smallest_area,
        smallest_volume=smallest_volume,
        force=force,
        deidentify=deidentify,
        engine=engine,
        precision=precision,
        device=device,
        batch_size=batch_size,
        workers=workers,
    )
    _check_device(device)
    status = predict_folder(folder, output, options, bundle=bundle)
    _print_outcome(status, folder, output / folder_of_part(part), as_json)
    raise typer.Exit(status)


def _print_outcome(status: int, folder: Path, output: Path, as_json: bool) -> None:
    """What came out of a folder run, for people or for programs."""
    counts = json.loads((output / "run.json").read_text(encoding="utf-8"))["counts"]
    if as_json:
        places = {"table": str(output / "predictions.csv"), "page": str(output / "report.html")}
        typer.echo(json.dumps({"exit_code": status, **counts, **places}, indent=2))
    else:
        _print_counts(counts, output)
    if status == EXIT_NOTHING:
        skipped = sum(counts["status"].values())
        found = f"no slice or volume ({skipped} file(s) skipped; the table says why)" if skipped else "no files"
        errors.print(f"nothing to do: {folder} holds {found}; monai-brain info lists the formats", markup=False)


def _check_device(device: str | None) -> None:
    """Say early that a device is not there, and which are."""
    if device is None:
        return
    from monai_brain.inference.info import usable_devices

    if device not in (usable := usable_devices()):
        raise typer.BadParameter(f"{device}: not available; available are {', '.join(usable)}")


@app.command(rich_help_panel=PREDICT, epilog=example("merge OUT"))
def merge(
    output: Annotated[Path, typer.Argument(help="Output folder of a run that was divided with --part.")],
) -> None:
    """Combine the parts of a divided run into one table and one page."""
    from monai_brain.inference.folder import has_findings
    from monai_brain.inference.merging import merge_parts

    counts = merge_parts(output)
    _print_counts(counts, output)
    raise typer.Exit(EXIT_FINDINGS if has_findings(counts) else 0)


def _print_counts(counts: dict[str, Any], output: Path) -> None:
    table = Table("", "", "number", title=f"{counts['cases']} files")
    for kind in ("status", "label", "code", "warning"):
        for name, number in sorted(counts[kind].items()):
            table.add_row(kind, name, str(number))
    console.print(table)
    console.print(f"Table: {output / 'predictions.csv'}\nPage:  {output / 'report.html'}", soft_wrap=True, markup=False)


@app.command("app", rich_help_panel=PREDICT, epilog=example("app", "app --weights runs/cnn --port 8080"))
def serve_page(
    bundle: Annotated[
        list[Path] | None,
        typer.Option(
            help="Bundle folder; can be repeated.", show_default="those that have weights", rich_help_panel=MODEL
        ),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="A run's folder or a weight file; can be repeated, in the order of the bundles.",
            show_default="the bundle's",
            rich_help_panel=MODEL,
        ),
    ] = None,
    precision: Annotated[
        PagePrecision | None,
        typer.Option(help="Precision of the network.", show_default="fp32", rich_help_panel=SPEED),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; any address other than this computer's own needs a password.",
            rich_help_panel=SERVER,
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.", rich_help_panel=SERVER)] = 7860,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the password on its first line; or set MONAI_BRAIN_PASSWORD.", rich_help_panel=SERVER
        ),
    ] = None,
    public_name: Annotated[
        str | None,
        typer.Option(help="Host name under which a proxy serves the page; needs a password.", rich_help_panel=SERVER),
    ] = None,
    max_upload_mb: Annotated[
        int,
        typer.Option(min=1, help="Maximum total size of an upload, in MB.", rich_help_panel=SERVER),
    ] = 64,
) -> None:
    """Serve a web page that shows the class or mask of a scan, and the evidence."""
    from monai_brain.app.server import serve

    password = os.environ.get("MONAI_BRAIN_PASSWORD") or None
    if password_file is not None:
        password = password_file.read_text(encoding="utf-8").partition("\n")[0].strip()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is how the page is meant to end
    serve(
        bundles=bundle or (),
        weights=weights or (),
        host=host,
        port=port,
        password=password,
        public_name=public_name,
        max_upload_mb=max_upload_mb,
        precision=precision.value if precision else None,
        log=lambda address: typer.echo(f"Page: {address}  (Ctrl-C ends it)"),
    )


@app.command(rich_help_panel=OTHER, epilog=example("info"))
def info(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print as JSON, for programs.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """List what is installed here: bundles, engines, formats, versions."""
    from monai_brain.inference.info import describe_installation

    found = describe_installation()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    bundles = Table("bundle", "version", "weights", "folder")
    for bundle in found["bundles"]:
        bundles.add_row(bundle["name"], bundle["version"], "yes" if bundle["has_weights"] else "no", bundle["folder"])
    engines = Table("engine", "precisions", "available")
    for name, engine in found["engines"].items():
        available = "yes" if engine["available"] else f"no: {', '.join(engine['missing'])} missing"
        engines.add_row(name, ", ".join(engine["precisions"]), available)
    for table in (bundles, engines):
        console.print(table)
    console.print(f"Formats: {', '.join(found['formats'])}\nDevices: {', '.join(found['devices'])}", markup=False)
    console.print(", ".join(f"{name} {version}" for name, version in found["versions"].items()), markup=False)
