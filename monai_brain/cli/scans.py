"""Commands for scans: apply a network, put parts together, serve the page, compare readers, say what is here."""

import json
import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from monai_brain.cli.shared import EXIT_FINDINGS, Bundle, Overwrite, app, console, existing


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="Folder of scans, searched with everything below it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for table, page and overlays.")],
    bundle: Bundle = None,
    weights: Annotated[
        Path | None, typer.Option(help="A run's folder or a weight file; by default the bundle's.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Write an overlay per case: where the evidence was.")
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(help="gradcam or gradcam++; of a classifier also occlusion or attention."),
    ] = None,
    masks: Annotated[
        bool | None, typer.Option("--masks/--no-masks", help="Segmenter: write a mask per case; by default it does.")
    ] = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Segmenter: write a picture per case with a tumor.")
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Segmenter: a pixel is tumor above this probability.")
    ] = None,
    smallest_area: Annotated[
        float | None, typer.Option(min=0, help="Segmenter: mm2 of a slice's component that stays (or pixels).")
    ] = None,
    smallest_volume: Annotated[
        float | None, typer.Option(min=0, help="Segmenter: mm3 of a volume's component that stays (or voxels).")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Segmenter: outline also sequences that its weights do not know.")
    ] = False,
    review: Annotated[bool, typer.Option("--review", help="Write a page for a reader's answers; see agree.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier results in the output folder.")
    ] = False,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help="By default it goes on with a run that was stopped; --resume also with one that ended: new files, "
            "changed ones, and those that could not be reached.",
        ),
    ] = None,
    part: Annotated[str | None, typer.Option(help="Such as 2/4: for several processes or machines; see merge.")] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Search what lies below the folder too.")
    ] = True,
    follow_links: Annotated[
        bool,
        typer.Option("--follow-links", help="Follow symbolic links out of the folder; only if you trust them."),
    ] = False,
    glob: Annotated[
        str | None, typer.Option(help="Take only files whose path ends like this, such as '*.png' or 'flair/*.nii'.")
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            help="Classifier, of volumes: 40:60 (40 to 59, from 0) or all; by default those with enough head."
        ),
    ] = None,
    answer_anyway: Annotated[
        bool,
        typer.Option("--answer-anyway", help="Classifier: give a class also where there is a reason not to."),
    ] = False,
    coverage: Annotated[
        float | None,
        typer.Option(min=0.5, max=0.99, help="Classifier: how often a set of classes holds the true one; 0.9."),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Classifier: file of calibrate, or none; by default the one beside the weights."),
    ] = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(help=r"Classifier: regular expression for the patient in a path, such as 'patient_(\d+)'."),
    ] = None,
    deidentify: Annotated[
        bool,
        typer.Option("--deidentify", help="Replace patient and UIDs in DICOM outputs; the key goes beside the folder."),
    ] = False,
    batch_size: Annotated[int | None, typer.Option(min=1)] = None,
    engine: Annotated[
        str | None, typer.Option(help="torch, onnx, openvino, or auto: the quickest by a short trial.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, bf16 (torch, openvino), int8 (openvino); auto with --engine auto: any.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Of torch: cpu, cuda or cuda:1; by default a GPU where there is one.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say at the end what came out as JSON, for programs.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that open the files; 0: none but this one.")
    ] = None,
) -> None:
    """Classify or segment every slice and volume of a folder (or of a cases.csv); bad files become rows with a code."""
    existing(folder, "give the folder that holds the scans")
    from monai_brain.inference.apply import predict_folder
    from monai_brain.inference.stream import folder_of_part

    _check_device(device)
    status = predict_folder(
        folder,
        output,
        bundle=bundle,
        device=device,
        threshold=threshold,
        smallest_area=smallest_area,
        smallest_volume=smallest_volume,
        force=force or None,
        weights=str(weights) if weights else None,
        explain=explain or None,
        method=method,
        masks=masks,
        overlays=overlays or None,
        review=review or None,
        overwrite=overwrite,
        resume=resume,
        part=part,
        recursive=recursive,
        glob=glob,
        follow_links=follow_links or None,
        slices=slices,
        answer_anyway=answer_anyway or None,
        coverage=coverage,
        calibration=calibration,
        patient_pattern=patient_pattern,
        deidentify=deidentify or None,
        batch_size=batch_size,
        engine=engine,
        precision=precision,
        workers=workers,
    )
    output = output / folder_of_part(part)
    counts = json.loads((output / "run.json").read_text(encoding="utf-8"))["counts"]
    if as_json:
        places = {"table": str(output / "predictions.csv"), "page": str(output / "report.html")}
        typer.echo(json.dumps({"exit_code": status, **counts, **places}, indent=2))
    else:
        _print_counts(counts, output)
    raise typer.Exit(status)


def _check_device(device: str | None) -> None:
    """Say early that a device is not there, and which are."""
    if device is None:
        return
    from monai_brain.inference.info import usable_devices

    if device not in (usable := usable_devices()):
        raise typer.BadParameter(f"{device}: there is no such device here; there are {', '.join(usable)}")


@app.command()
def merge(
    output: Annotated[Path, typer.Argument(help="Output folder of a run that was divided by --part.")],
) -> None:
    """Put the parts of a divided run together: one table, one page."""
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


@app.command("app")
def serve_page(
    bundle: Annotated[
        list[Path] | None, typer.Option(help="Bundle folder, several times; by default those that have weights.")
    ] = None,
    weights: Annotated[
        list[Path] | None, typer.Option(help="A run's folder or a weight file, one for each bundle, in their order.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address; any but this computer's own wants a password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 7860,
    password_file: Annotated[Path | None, typer.Option(help="Its first line; or set MONAI_BRAIN_PASSWORD.")] = None,
    public_name: Annotated[
        str | None, typer.Option(help="Name under which a proxy serves the page to others; wants a password.")
    ] = None,
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Of one upload, all its files together.")] = 64,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
) -> None:
    """Serve the web page: drop a scan, see class or mask, and why."""
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
        precision=precision,
        log=lambda address: typer.echo(f"Page: {address}  (Ctrl-C ends it)"),
    )


@app.command()
def agree(
    reviews: Annotated[list[Path], typer.Argument(help="CSV files exported from a review page, one for each reader.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV of the cases they differ in.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Agreement and Cohen's kappa between readers and model, with 95 % intervals."""
    from monai_brain.evaluation.agreement import agreements, read_review
    from monai_brain.io.write import refuse_existing, write_csv

    refuse_existing(output, overwrite=overwrite)
    pairs = agreements([read_review(path) for path in reviews])
    table = Table("first", "second", "cases", "of them blinded", "agreement", "Cohen's kappa")
    for pair in pairs:
        shown = "undefined"
        if pair.kappa is not None and pair.kappa_interval is not None:
            shown = f"{pair.kappa:.3f} ({pair.kappa_interval.low:.3f} to {pair.kappa_interval.high:.3f})"
        low, high = pair.agreement_interval
        share = f"{pair.agreement:.3f} ({low:.3f} to {high:.3f})"
        table.add_row(pair.first, pair.second, str(pair.cases), str(pair.blinded), share, shown)
    console.print(table)
    console.print("Only blinded readings are independent of the model.")
    if output is not None:
        columns = ("first", "second", "path", "first_label", "second_label")
        disputed = ((pair.first, pair.second, *case) for pair in pairs for case in pair.disputed)
        write_csv(output, columns, (dict(zip(columns, row, strict=True)) for row in disputed))
        console.print(f"Differences: {output}", soft_wrap=True, markup=False)


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """What is here: bundles, engines, formats, versions."""
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
