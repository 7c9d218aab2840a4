"""Commands that score a run, predictions of any software or readers, and report on a run."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from monai_brain.cli.models import table_of_classes, table_of_patients
from monai_brain.cli.shared import (
    EVALUATE,
    OUTPUT,
    Overwrite,
    app,
    console,
    errors,
    example,
    existing,
    refuse_given,
)

RUNS, FILES, COMPARISON = "To score a run or a bundle", "To score predictions against LABELS", "Comparison"
"""Panels of options."""

OF_RUNS = ("dataset_dir", "part", "datalist", "external", "external_dir", "bundle")
OF_FILES = ("group_by", "patient_pattern", "by", "classes", "id_column", "label_column", "prediction_column")
OF_CLASSES = ("classes", "label_column", "prediction_column")
"""Options of `evaluate` that have an effect on runs, on files, and of these on tables of classes only."""


class ChecklistName(StrEnum):
    """What `report --checklist` takes; the lists themselves are in `report.checklists`."""

    CLAIM_2024 = "claim2024"
    TRIPOD_AI = "tripod-ai"
    METRICS = "metrics"


@app.command(
    rich_help_panel=EVALUATE,
    epilog=example(
        "evaluate RUN --dataset-dir IMAGES",
        "evaluate predictions.csv labels.csv -o OUT --group-by patient --by sex",
        "evaluate PREDICTED_MASKS REFERENCE_MASKS -o OUT --patient-pattern 'TCGA_.._([0-9]+)'",
    ),
)
def evaluate(
    context: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|PREDICTIONS",
            help="Run folder; or, with --datalist, a bundle that has weights, or masks written by predict; "
            "or, with LABELS, a CSV of predictions or a folder of masks.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="LABELS", help="CSV with a class for each case, or reference masks (folder or CSV)."),
    ] = None,
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="MONAI_BRAIN_DATA", help="Folder that the datalist's paths are relative to.", rich_help_panel=RUNS
        ),
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            metavar="[training|validation|test]",
            help="Part of the datalist to score, or several, such as validation+test.",
            rich_help_panel=RUNS,
        ),
    ] = "test",
    datalist: Annotated[
        Path | None,
        typer.Option(help="Datalist to score, for a bundle or for masks written by predict.", rich_help_panel=RUNS),
    ] = None,
    external: Annotated[
        Path | None, typer.Option(help="Datalist of another data set to score the run on.", rich_help_panel=RUNS)
    ] = None,
    external_dir: Annotated[
        Path | None, typer.Option(help="Folder that the paths of --external are relative to.", rich_help_panel=RUNS)
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Bundle: a folder, or the name of one in the repository.",
            show_default="brain_tumor_classification",
            rich_help_panel=RUNS,
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(help="Column with the patient; intervals resample whole patients.", rich_help_panel=FILES),
    ] = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(help="For masks: regular expression for the patient in file names.", rich_help_panel=FILES),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Column whose values define subgroups; can be repeated.", rich_help_panel=FILES),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="All classes, separated by commas.", show_default="those in the files", rich_help_panel=FILES
        ),
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that identifies a case.", rich_help_panel=FILES)] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of LABELS with the reference class.", rich_help_panel=FILES)
    ] = None,
    prediction_column: Annotated[
        str | None, typer.Option(help="Column of PREDICTIONS with the predicted class.", rich_help_panel=FILES)
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Other predictions or masks, or a scored folder of masks, for a paired comparison.",
            rich_help_panel=COMPARISON,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write.", show_default="inside the run", rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score a training run, or predictions from any software against labels."""
    existing(run, "give the folder of a training, or predictions")
    if labels is not None:
        existing(labels, "give the labels or reference masks")
        refuse_given(context, OF_RUNS, "has no effect on predictions with LABELS")
        from monai_brain.evaluation.joining import Names

        if output is None:
            raise typer.BadParameter("name the folder for the results with -o")
        names = Names(id_column, label_column, prediction_column, group_by)
        _evaluate_files(run, labels, output, names, classes, by or [], patient_pattern, against, overwrite)
        return
    if run.is_file() and run.suffix.lower() == ".csv":
        raise typer.BadParameter(f"{run} is a table of predictions: name the labels behind it, as a second CSV")
    refuse_given(context, OF_FILES, "has an effect only on predictions with LABELS")
    if dataset_dir is None:
        raise typer.BadParameter("name the folder of the images with --dataset-dir, or set MONAI_BRAIN_DATA")
    if (run / "predictions.csv").is_file():
        refuse_given(context, ("external", "external_dir", "bundle"), "has no effect on masks that predict wrote")
        _evaluate_masks(run, dataset_dir, part, datalist, output, against, overwrite)
        return
    refuse_given(context, ["against"], "has no effect on a run; monai-brain compare puts runs side by side")
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
    table = Table("", "value (95% interval)")
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


@app.command(rich_help_panel=EVALUATE, epilog=example("report RUN --checklist tripod-ai"))
def report(
    run: Annotated[Path, typer.Argument(help="Run folder that was evaluated on its test part.")],
    checklist: Annotated[
        ChecklistName, typer.Option(help="CLAIM 2024, TRIPOD+AI or Metrics Reloaded.", rich_help_panel=OUTPUT)
    ] = ChecklistName.CLAIM_2024,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Page to write.",
            show_default="report_CHECKLIST.html in the run",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a printable page about a run, with a reporting checklist filled in as far as possible."""
    existing(run, "give the folder of a training")
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.checklist_page import write_checklist

    page = output or run / f"report_{checklist.value}.html"
    refuse_existing(page, overwrite=overwrite)
    answered, number = write_checklist(run, checklist.value, page)
    console.print(f"{answered} of {number} items filled from the run; the others are marked for the authors")
    console.print(f"Page: {page}", soft_wrap=True, markup=False)


@app.command(rich_help_panel=EVALUATE, epilog=example("agree review_anna.csv review_ben.csv -o differences.csv"))
def agree(
    reviews: Annotated[list[Path], typer.Argument(help="CSV files exported from a review page, one per reader.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="CSV of the cases on which readers differ.", rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure agreement and Cohen's kappa between readers and the model, with 95% intervals."""
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
