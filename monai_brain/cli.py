"""The command line: parses, calls, prints. What a command does lives elsewhere, and is imported when it runs."""

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from monai_brain import __version__

EXIT_WRONG_USE, EXIT_FINDINGS, EXIT_ENVIRONMENT, EXIT_STOPPED = 2, 3, 5, 128 + signal.SIGTERM

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

USERS_ERRORS = (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)
"""Of the system's errors, those that a user can mend; their text names the file."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Brain tumors on MR images: classify, explain, and measure honestly. Research use only.",
)
console = Console()
errors = Console(stderr=True, soft_wrap=True)


def main() -> None:
    """Entry point: what users can mend is one line on the error output, everything else a traceback."""
    signal.signal(signal.SIGTERM, _stopped)
    try:
        app()
    except _Stopped:
        sys.exit(EXIT_STOPPED)
    except Exception as error:
        if _is_environment(error):
            errors.print(f"error: {_root(error)}; what was done is kept, call again to go on", markup=False)
            sys.exit(EXIT_ENVIRONMENT)
        message = _for_users(error)
        if message is None:
            raise
        errors.print(f"error: {message}", markup=False, highlight=False)
        sys.exit(EXIT_WRONG_USE)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


@app.command("demo-data")
def demo_data(
    output: Annotated[Path, typer.Argument(help="New folder for the synthetic images.")],
    patients: Annotated[int, typer.Option(min=1, help="Of class folders, the classes in turn.")] = 60,
    slices: Annotated[int, typer.Option(min=1, help="Per patient, of class folders.")] = 10,
    layout: Annotated[
        str, typer.Option(help="classes (folders of slices), nifti (volumes with masks) or slices (with masks).")
    ] = "classes",
    seed: Annotated[int, typer.Option(help="Of everything: the same seed gives the same pixels.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.")] = None,
) -> None:
    """Make synthetic MR: class folders of slices, or heads in three sequences with masks; without any download."""
    from rich.progress import Progress

    from monai_brain.data.demo import write_demo_slices, write_demo_volumes

    with Progress(console=errors) as progress:
        task = progress.add_task("rendering patients", total=patients)
        options: dict[str, Any] = {"patients": patients, "seed": seed, "workers": workers or os.cpu_count() or 1}
        options["told"] = lambda: progress.advance(task)
        if layout == "classes":
            count = write_demo_slices(output, slices_per_patient=slices, **options)
        else:
            count = write_demo_volumes(output, layout=layout, **options)
    console.print(f"{count} synthetic slices of {patients} patients in {output}", soft_wrap=True)


@app.command()
def index(
    folder: Annotated[Path, typer.Argument(help="Holds one folder per class.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Datalist to write.")],
    patient_pattern: Annotated[
        str | None,
        typer.Option(help=r"Regular expression for the patient in a path, such as 'patient_(\d+)'."),
    ] = None,
    split: Annotated[Path | None, typer.Option(help="Take this split, after checking its files' hashes.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read images.")] = None,
) -> None:
    """Split class folders 70/15/15, stratified, grouped by patient or by near-duplicate cluster."""
    from monai_brain.data.index import index_folder
    from monai_brain.data.splits import check_hashes, read_datalist
    from monai_brain.io.write import write_json

    if split is not None:
        datalist = read_datalist(split)
        problems = check_hashes(datalist, folder)
        if problems:
            errors.print("\n".join(problems[:10]), markup=False)
            errors.print(f"{len(problems)} file(s) of {split} do not fit {folder}; nothing was written", markup=False)
            raise typer.Exit(EXIT_FINDINGS)
        write_json(output, datalist)
        console.print(_table_of_parts(datalist))
        return
    found = index_folder(folder, patient_pattern=patient_pattern, seed=seed, workers=workers or os.cpu_count() or 1)
    write_json(output, found.datalist)
    console.print(_table_of_parts(found.datalist))
    twins = found.duplicates
    console.print(
        f"near-duplicates: {twins.near} images, {twins.exact} of them exact copies, "
        f"{twins.near_of_other_class} with another label on the copy"
    )
    console.print(f"groups: {found.datalist['grouping']}", soft_wrap=True, markup=False)
    for path, code in found.refused.items():
        errors.print(f"left out: {path} ({code})", markup=False)
    if any(code != "sidecar" for code in found.refused.values()):
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a training.")],
    dataset_dir: Annotated[
        Path, typer.Option(envvar="MONAI_BRAIN_DATA", help="Folder that its datalist's paths are relative to.")
    ],
    part: Annotated[str, typer.Option(help="training, validation or test.")] = "test",
    external: Annotated[Path | None, typer.Option(help="Datalist of another data set to score it on.")] = None,
    external_dir: Annotated[Path | None, typer.Option(help="Folder that this one's paths are relative to.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="By default a folder inside the run.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Bundle folder; by default the repository's classifier.")] = None,
) -> None:
    """Score a trained run on its own split or another data set; a classifier beside a nearest-neighbor baseline."""
    from monai_brain.inference.apply import evaluate_run

    if external_dir is not None and external is None:
        raise typer.BadParameter("name the other data set's datalist with --external")
    optional = {"external": external, "external_dir": external_dir, "output_dir": output}
    named = {key: str(value) for key, value in optional.items() if value is not None}
    folder = evaluate_run(run, dataset_dir, bundle=bundle, part=part, **named)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    console.print(_table_of_classes(metrics) if "model" in metrics else _table_of_patients(metrics))
    console.print(f"Page: {folder / 'report.html'}", soft_wrap=True, markup=False)


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="Folder of scans, searched with everything below it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for table, page and overlays.")],
    bundle: Annotated[Path | None, typer.Option(help="Bundle folder; by default the repository's classifier.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A run's folder or a weight file; by default the bundle's.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Write an overlay per case: where the evidence was.")
    ] = False,
    method: Annotated[
        str | None, typer.Option(help="How it is found: gradcam, gradcam++; of a classifier also occlusion, attention.")
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
    volume_peak: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Segmenter: probability that a volume's component must have somewhere."),
    ] = None,
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
    glob: Annotated[
        str | None, typer.Option(help="Take only files whose path ends like this, such as '*.png' or 'flair/*.nii'.")
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            help="Classifier, of volumes: 40:60 (40 to 59, from 0) or all; by default those with enough head."
        ),
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
        volume_peak=volume_peak,
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
        slices=slices,
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


@app.command("index-pairs")
def index_pairs(
    folder: Annotated[Path, typer.Argument(help="Holds slices with their masks.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Datalist to write.")],
    fold: Annotated[int, typer.Option(min=0, help="The fold that is tested.")] = 0,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds, even over institutions.")] = 4,
    split: Annotated[Path | None, typer.Option(help="Take the folds of this file.")] = None,
    leave_out: Annotated[str | None, typer.Option(help="Test this institution instead of a fold.")] = None,
    patient_pattern: Annotated[
        str | None, typer.Option(help=r"Regular expression for the patient in a path, such as 'patient_(\d+)'.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the folds and of the patients who validate.")] = 0,
) -> None:
    """Pair slices with masks and split them by patient: one fold, or one institution, is tested."""
    from monai_brain.data.pairs import count_by_part, find_pairs, split_pairs
    from monai_brain.io.write import write_json

    found = find_pairs(folder, patient_pattern=patient_pattern)
    datalist = split_pairs(found.pairs, fold=fold, folds=folds, split=split, institution=leave_out, seed=seed)
    write_json(output, datalist)
    table = Table("part", "slices", "with tumor", "patients", title=datalist["name"])
    for part, counts in count_by_part(datalist).items():
        table.add_row(part, *map(str, counts))
    console.print(table)
    for path, code in found.refused.items():
        errors.print(f"left out: {path} ({code})", markup=False)
    if found.refused:
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def pool(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of trainings on the folds, evaluated on their test parts.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for figures, table and page.")],
) -> None:
    """Put the folds of a segmenter's cross-validation together: every patient once."""
    from monai_brain.report.segmentation import write_pooled

    metrics = write_pooled(output, runs)
    table = Table("institution", "patients", "mean Dice", "median Dice")
    for name, own in {"all": metrics["patients"], **metrics["by_institution"]}.items():
        low, high = own["mean_interval"]
        mean = f"{own['mean_dice']:.3f} ({low:.3f} to {high:.3f})"
        table.add_row(name, str(own["number"]), mean, f"{own['median_dice']:.3f}")
    console.print(table)
    console.print(f"Page: {output / 'report.html'}", soft_wrap=True, markup=False)


@app.command()
def explore(
    datalist: Annotated[Path, typer.Argument(help="From monai-brain index.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the page and its figures.")],
    dataset_dir: Annotated[
        Path, typer.Option(envvar="MONAI_BRAIN_DATA", help="Folder that the datalist's paths are relative to.")
    ],
    network: Annotated[str | None, typer.Option(help="Overlay whose preprocessing is shown, such as cnn.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Bundle folder; by default the repository's classifier.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.")] = 0,
) -> None:
    """Draw what is in a data set: classes, examples, sizes, intensities, preprocessing and augmentation."""
    from monai_brain.inference.apply import find_bundle
    from monai_brain.report.exploration import write_exploration

    configs = find_bundle(bundle) / "configs"
    files = [configs / "train.yaml"]
    if network is not None:
        files.append(configs / "networks" / f"{network}.yaml")
        if not files[-1].is_file():
            raise FileNotFoundError(f"{files[-1]}: no such overlay")
    write_exploration(output, datalist, dataset_dir, files, seed)
    console.print(f"Page: {output / 'exploration.html'}", soft_wrap=True, markup=False)


@app.command()
def study(
    plan: Annotated[Path, typer.Argument(help="YAML: dataset_dir, datalist, networks, and optionally seeds, options.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Gets a run folder per network and seed.")],
    bundle: Annotated[Path | None, typer.Option(help="Bundle folder; by default the repository's classifier.")] = None,
) -> None:
    """Train and evaluate several networks on one datalist; what is finished is skipped when called again."""
    from monai_brain.inference.apply import find_bundle
    from monai_brain.report.comparison import is_classifier, write_comparison
    from monai_brain.training.study import read_study, run_study

    found = run_study(
        read_study(plan, find_bundle(bundle)), output, told=lambda line: console.print(line, markup=False)
    )
    compared = [run for run in found.runs if is_classifier(run)]
    if compared:
        write_comparison(output / "comparison", compared)
        console.print(f"Page: {output / 'comparison' / 'comparison.html'}", soft_wrap=True, markup=False)
    if len(compared) < len(found.runs):
        console.print("Segmenters are not compared; monai-brain pool RUN... -o FOLDER puts the folds of one together")
    for failure in found.failures:
        errors.print(f"not trained: {failure}", markup=False, highlight=False)
    if found.failures:
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trainings that were evaluated on their test part.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for table, page and figures.")],
) -> None:
    """Put trained and evaluated runs into one table, with a paired test for each two."""
    from monai_brain.report.comparison import write_comparison

    write_comparison(output, runs)
    console.print(f"Page: {output / 'comparison.html'}", soft_wrap=True, markup=False)


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
    from monai_brain.app.serving import serve

    password = os.environ.get("MONAI_BRAIN_PASSWORD") or None
    if password_file is not None:
        password = password_file.read_text(encoding="utf-8").partition("\n")[0].strip()
    serve(
        bundles=bundle or (),
        weights=weights or (),
        host=host,
        port=port,
        password=password,
        public_name=public_name,
        max_upload_mb=max_upload_mb,
        precision=precision,
        told=lambda address: typer.echo(f"Page: {address}  (Ctrl-C ends it)"),
    )


@app.command()
def agree(
    reviews: Annotated[list[Path], typer.Argument(help="CSV files exported from a review page, one for each reader.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV of the cases they differ in.")] = None,
) -> None:
    """Agreement and Cohen's kappa between readers and model, with 95 % intervals."""
    from monai_brain.evaluation.agreement import agreements, read_review
    from monai_brain.io.write import write_csv

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


def _table_of_classes(metrics: dict[str, Any]) -> Table:
    table = Table("", "accuracy", "macro-F1", title=f"{metrics['model']['images']} images")
    for name, key in (("model", "model"), ("1-nearest-neighbor", "nearest_neighbor")):
        table.add_row(name, *(f"{metrics[key][figure]:.4f}" for figure in ("accuracy", "macro_f1")))
    return table


def _table_of_patients(metrics: dict[str, Any]) -> Table:
    from monai_brain.report.segmentation import patient_table

    found = patient_table(metrics)
    table = Table(*found.columns, title=found.caption)
    for row in found.rows:
        table.add_row(*row)
    return table


def _table_of_parts(datalist: dict[str, Any]) -> Table:
    from monai_brain.data.index import count_by_class

    table = Table("part", *datalist["class_names"], title="images (groups)")
    for part, classes in count_by_class(datalist).items():
        table.add_row(part, *(f"{images} ({groups})" for images, groups in classes.values()))
    return table


class _Stopped(BaseException):
    """The system asked to end; goes through every `finally`, so that nothing is left half-written."""


def _stopped(number: int, frame: Any) -> None:
    raise _Stopped


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_environment(error: BaseException) -> bool:
    """Whether disk or memory ran out."""
    root = _root(error)
    if isinstance(root, RuntimeError):
        from monai_brain.inference.preparing import OUT_OF_MEMORY

        return any(words in str(root) for words in OUT_OF_MEMORY)
    return isinstance(root, MemoryError) or (isinstance(root, OSError) and root.errno in NO_SPACE)


def _for_users(error: BaseException) -> str | None:
    """The message of the first error behind all wrappers that was written for users; None if there is none."""
    link: BaseException | None = error
    while link is not None:
        if type(link).__module__.startswith("monai_brain") or isinstance(link, USERS_ERRORS):
            return str(link)
        link = link.__cause__
    return None
