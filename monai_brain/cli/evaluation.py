"""Commands that score a run or predictions of any software, and report on a run."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from monai_brain.cli.models import table_of_classes, table_of_patients
from monai_brain.cli.shared import Overwrite, app, console, errors, existing

RUNS, FILES = "Of a run or a bundle", "Of predictions and labels"


class ChecklistName(StrEnum):
    """What `report --checklist` takes; the lists themselves are in `report.checklists`."""

    CLAIM_2024 = "claim2024"
    TRIPOD_AI = "tripod-ai"
    METRICS = "metrics"


EXAMPLES = """Score a trained run, or predictions of any software against labels.

Examples:

  monai-brain evaluate RUN --dataset-dir IMAGES

  monai-brain evaluate predictions.csv labels.csv -o OUT --group-by patient --by sex

  monai-brain evaluate PREDICTED_MASKS REFERENCE_MASKS -o OUT --patient-pattern 'TCGA_.._([0-9]+)'
"""


@app.command(help=EXAMPLES)
def evaluate(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|PREDICTIONS",
            help="Folder of a training; with --datalist a bundle that has weights, or masks that predict wrote; before "
            "LABELS a CSV of predictions or a folder of masks.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="LABELS", help="CSV with a class for each case, or reference masks (folder, or CSV)."),
    ] = None,
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="MONAI_BRAIN_DATA", help="Folder that the datalist's paths are relative to.", rich_help_panel=RUNS
        ),
    ] = None,
    part: Annotated[
        str,
        typer.Option(help="training, validation or test, or several such as validation+test.", rich_help_panel=RUNS),
    ] = "test",
    datalist: Annotated[
        Path | None,
        typer.Option(help="Take this datalist instead of the run's; for a bundle's weights.", rich_help_panel=RUNS),
    ] = None,
    external: Annotated[
        Path | None, typer.Option(help="Datalist of another data set to score it on.", rich_help_panel=RUNS)
    ] = None,
    external_dir: Annotated[
        Path | None, typer.Option(help="Folder that its paths are relative to.", rich_help_panel=RUNS)
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle: a folder or a name; by default the repository's classifier.", rich_help_panel=RUNS),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="For a paired comparison: other predictions or masks, or a scored folder of masks."),
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(help="Column with the patient; whole patients are resampled.", rich_help_panel=FILES)
    ] = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(help="Of masks: regular expression for the patient in their names.", rich_help_panel=FILES),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Column whose values are subgroups; may be given several times.", rich_help_panel=FILES),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="All classes, with commas between; by default those that are found.", rich_help_panel=FILES),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column that tells the cases apart.", rich_help_panel=FILES)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of LABELS with the reference class.", rich_help_panel=FILES)
    ] = None,
    prediction_column: Annotated[
        str | None, typer.Option(help="Column of PREDICTIONS with the class.", rich_help_panel=FILES)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write; of a run, by default a folder inside it.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score a run, or predictions against labels."""
    existing(run, "give the folder of a training, or predictions")
    if labels is not None:
        existing(labels, "give the labels or reference masks")
    if labels is not None:
        from monai_brain.evaluation.joining import Names

        if output is None:
            raise typer.BadParameter("name the folder for the results with -o")
        names = Names(id_column, label_column, prediction_column, group_by)
        _evaluate_files(run, labels, output, names, classes, by or [], patient_pattern, against, overwrite)
        return
    if run.is_file() and run.suffix.lower() == ".csv":
        raise typer.BadParameter(f"{run} is a table of predictions: name the labels behind it, as a second CSV")
    if dataset_dir is None:
        raise typer.BadParameter("name the folder of the images with --dataset-dir, or set MONAI_BRAIN_DATA")
    if (run / "predictions.csv").is_file():
        _evaluate_masks(run, dataset_dir, part, datalist, output, against, overwrite)
        return
    if external_dir is not None and external is None:
        raise typer.BadParameter("name the other data set's datalist with --external")
    if datalist is not None and (run / "datalist.json").is_file():
        raise typer.BadParameter(f"{run} has a datalist; score it on other data with --external and --external-dir")
    from monai_brain.inference.apply import evaluate_run

    optional = {"datalist": datalist, "external": external, "external_dir": external_dir, "output_dir": output}
    named = {key: str(value) for key, value in optional.items() if value is not None}
    folder = evaluate_run(run, dataset_dir, bundle=bundle, overwrite=overwrite, part=part, **named)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    console.print(table_of_classes(metrics) if "model" in metrics else table_of_patients(metrics))
    console.print(f"Page: {folder / 'report.html'}", soft_wrap=True, markup=False)


def _evaluate_files(
    predictions: Path,
    labels: Path,
    output: Path,
    names: Any,
    classes: str | None,
    by: list[str],
    patient_pattern: str | None,
    against: Path | None,
    overwrite: bool,
) -> None:
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.mask_evaluation import holds_masks, mask_figures, score_masks
    from monai_brain.report.predictions import figures_of_classes, score_predictions_of_classes

    refuse_existing(output, overwrite=overwrite)
    if holds_masks(predictions, labels):
        metrics = score_masks(
            predictions,
            labels,
            output,
            id_column=names.case,
            group_by=names.group,
            patient_pattern=patient_pattern,
            by=by,
            against=against,
        )
        rows = mask_figures(metrics)
    else:
        if patient_pattern is not None:
            raise typer.BadParameter("--patient-pattern is for masks; name the column of the patient with --group-by")
        given = [name.strip() for name in classes.split(",")] if classes else []
        metrics = score_predictions_of_classes(
            predictions, labels, output, names=names, classes=given, by=by, against=against
        )
        rows = figures_of_classes(metrics)
    table = Table("", "value (95 % interval)")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in metrics["notes"]:
        errors.print(f"note: {note}", markup=False, highlight=False)
    console.print(f"Page: {output / 'report.html'}", soft_wrap=True, markup=False)


def _evaluate_masks(
    run: Path,
    dataset_dir: Path,
    part: str,
    datalist: Path | None,
    output: Path | None,
    against: Path | None,
    overwrite: bool,
) -> None:
    from monai_brain.evaluation.intervals import with_interval
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.predicted_masks import score_predictions

    if datalist is None:
        raise typer.BadParameter(f"{run} has masks: name the datalist with their references, with --datalist")
    folder = output or run / f"evaluation_{part}"
    refuse_existing(folder, overwrite=overwrite)
    metrics = score_predictions(run, datalist, dataset_dir, folder, part=part, against=against)
    console.print(table_of_patients(metrics))
    if "paired" in metrics:
        own = metrics["paired"]
        difference = with_interval(own["mean"], own["interval"], "+")
        console.print(
            f"against {own['against']}, {own['patients']} patients: mean Dice {difference}, {own['better']} better",
            soft_wrap=True,
            markup=False,
        )
    console.print(f"Page: {folder / 'report.html'}", soft_wrap=True, markup=False)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a training that was evaluated on its test part.")],
    checklist: Annotated[
        ChecklistName, typer.Option(help="CLAIM 2024, TRIPOD+AI, or Metrics Reloaded.")
    ] = ChecklistName.CLAIM_2024,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Page to write; by default report_CHECKLIST.html in the run.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one printable page about a run, with a journal's checklist filled in as far as software can.

    Example: monai-brain report RUN --checklist tripod-ai
    """
    existing(run, "give the folder of a training")
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.checklist_page import write_checklist

    page = output or run / f"report_{checklist.value}.html"
    refuse_existing(page, overwrite=overwrite)
    answered, number = write_checklist(run, checklist.value, page)
    console.print(f"{answered} of {number} items filled from the run; the others are marked for the authors")
    console.print(f"Page: {page}", soft_wrap=True, markup=False)
