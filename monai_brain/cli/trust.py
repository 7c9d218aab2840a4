"""Commands that say how far a network can be trusted: calibrate its probabilities, put it under stress."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from monai_brain.cli.shared import (
    EVALUATE,
    INPUT,
    OUTPUT,
    PATIENT_PATTERN,
    Bundle,
    Overwrite,
    Weights,
    app,
    console,
    errors,
    example,
    existing,
    refuse_given,
)

SITE = "Cases of your own"
"""Panel of options."""


@app.command(
    rich_help_panel=EVALUATE,
    epilog=example("calibrate POOLED --weights RUN", "calibrate --site MY_CASES -o my_calibration.json"),
)
def calibrate(
    context: typer.Context,
    pooled: Annotated[
        Path | None,
        typer.Argument(help="Folder of pooled folds that share no patient, as written by monai-brain pool."),
    ] = None,
    bundle: Bundle = None,
    weights: Weights = None,
    site: Annotated[
        Path | None,
        typer.Option(
            help="Your own labeled cases instead of POOLED: a folder per class, or predictions.csv.",
            rich_help_panel=SITE,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Your labels, if --site is predictions.csv: a CSV with the columns path and label.",
            rich_help_panel=SITE,
        ),
    ] = None,
    patient_pattern: Annotated[str | None, typer.Option(help=PATIENT_PATTERN, rich_help_panel=SITE)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to write; required with --site.",
            show_default="beside the weights",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Calibrate probabilities and class sets on labeled predictions, and test them on other patients."""
    from monai_brain.inference.apply import find_bundle
    from monai_brain.inference.calibrating import calibrate_by_folds, calibrate_site
    from monai_brain.io.write import refuse_existing

    if (pooled is None) == (site is None):
        raise typer.BadParameter("give either the folder of pooled folds, or --site with labeled cases")
    if site is None:
        refuse_given(context, ["labels", "patient_pattern"], "has an effect with --site only")
    refuse_existing(output, overwrite=overwrite)
    if site is not None:
        if output is None:
            raise typer.BadParameter("--site needs -o, the file to write")
        figures = calibrate_site(
            site, output, labels, patient_pattern, bundle=bundle, weights=str(weights) if weights else None
        )
        console.print(_table_of_site(figures))
    else:
        assert pooled is not None  # one of the two was given
        existing(pooled / "predictions.csv", "give a folder that monai-brain pool wrote")
        output, figures = calibrate_by_folds(pooled, weights or find_bundle(bundle), output)
    console.print(_table_of_calibration(figures["calibration"]))
    console.print(_table_of_sets(figures["sets_of_slices"]))
    console.print(f"Calibration: {output}", soft_wrap=True, markup=False)


@app.command(rich_help_panel=EVALUATE, epilog=example("stress SCANS -o STRESS --slices 200"))
def stress(
    folder: Annotated[Path, typer.Argument(help="Folder of scans; no labels are needed.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for figure, page and stress.json.", rich_help_panel=OUTPUT)
    ],
    bundle: Bundle = None,
    weights: Weights = None,
    slices: Annotated[
        int, typer.Option(min=1, help="Maximum number of slices, sampled from the whole folder.", rich_help_panel=INPUT)
    ] = 100,
    overwrite: Overwrite = False,
) -> None:
    """Corrupt slices (noise, bias field, gamma, blur, JPEG, rotation, crop, resolution) and count changed answers."""
    from rich.progress import Progress

    from monai_brain.inference.stress import stress_folder
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.stress import PAGE, stress_table

    refuse_existing(output, overwrite=overwrite)
    with Progress(console=errors) as progress:
        task = progress.add_task("corrupting slices", total=slices)
        result = stress_folder(
            folder, output, bundle=bundle, weights=weights, slices=slices, log=lambda: progress.advance(task)
        )
    shown = stress_table(result)
    table = Table(*shown.columns, title=shown.caption)
    for row in shown.rows:
        table.add_row(*row)
    console.print(table)
    console.print(f"Page: {output / PAGE}", soft_wrap=True, markup=False)


def _table_of_site(figures: dict[str, Any]) -> Table:
    columns = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
    title = f"{figures['cases']} cases, with 95% intervals; predictive values at the prevalence of these cases"
    table = Table("class", "cases", "prevalence", *(name.replace("_", " ") for name in columns), title=title)
    for name, own in figures["site"].items():
        table.add_row(name, str(own["cases"]), f"{own['prevalence']:.3f}", *(_share(own[key]) for key in columns))
    return table


def _table_of_calibration(figures: dict[str, Any]) -> Table:
    title = f"{figures['slices']} slices of {figures['groups']} groups, each scaled by the temperature of other folds"
    table = Table("", "calibration error", "Brier score", title=title)
    for name in ("before", "after"):
        own = figures[name]
        table.add_row(name, f"{own['calibration_error']:.4f}", f"{own['brier_score']:.4f}")
    return table


def _table_of_sets(rows: list[dict[str, Any]]) -> Table:
    from monai_brain.evaluation.intervals import with_interval

    names = list(rows[0]["by_class"])
    table = Table("coverage asked for", *names, "mean size", title="Measured coverage of the sets, by groups")
    for row in rows:
        covered = row["by_class"].values()
        shares = [with_interval(own["covered"], own["interval"]) for own in covered]
        table.add_row(f"{row['asked']:.2f}", *shares, f"{row['mean_size']:.2f}")
    return table


def _share(values: list[float] | None) -> str:
    return "undefined" if values is None else f"{values[0]:.3f} ({values[1]:.3f} to {values[2]:.3f})"
