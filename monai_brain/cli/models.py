"""Commands for trained networks: pool, train several, compare."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from monai_brain.cli.shared import EXIT_FINDINGS, OUTPUT, TRAIN, Bundle, Overwrite, app, console, errors, example


@app.command(rich_help_panel=TRAIN, epilog=example("pool STUDY/cnn/fold_*/seed_0 -o POOLED"))
def pool(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, one per fold, each evaluated on its test part.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the figures, table and page.", rich_help_panel=OUTPUT)
    ],
    overwrite: Overwrite = False,
) -> None:
    """Combine the folds of a cross-validation, so that each image (for a segmenter, each patient) is tested once."""
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.comparison import is_classifier
    from monai_brain.report.evaluation import write_pooled_classes
    from monai_brain.report.segmentation import write_pooled

    refuse_existing(output, overwrite=overwrite)
    if (runs[0] / "evaluation_test" / "predictions.csv").is_file() and is_classifier(runs[0]):
        console.print(table_of_classes(write_pooled_classes(output, runs)))
    else:
        console.print(table_of_patients(write_pooled(output, runs)))
    console.print(f"Page: {output / 'report.html'}", soft_wrap=True, markup=False)


@app.command(rich_help_panel=TRAIN, epilog=example("study study.yaml -o STUDY"))
def study(
    plan: Annotated[
        Path, typer.Argument(help="YAML with dataset_dir, networks, and datalist or folds; optional: seeds, options.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for one run per network and seed.", rich_help_panel=OUTPUT)
    ],
    bundle: Bundle = None,
) -> None:
    """Train and evaluate several networks, on one datalist or by cross-validation; finished runs are skipped."""
    from monai_brain.inference.apply import find_bundle
    from monai_brain.report.comparison import is_classifier, write_comparison
    from monai_brain.training.study import read_study, run_study

    asked = read_study(plan, find_bundle(bundle))
    found = run_study(asked, output, log=lambda line: console.print(line, markup=False))
    compared = [run for run in found.runs if is_classifier(run)]
    if compared and asked.datalists:
        _pool_folds(compared, output)
    elif compared:
        write_comparison(output / "comparison", compared)
        console.print(f"Page: {output / 'comparison' / 'comparison.html'}", soft_wrap=True, markup=False)
    if len(compared) < len(found.runs):
        console.print("Segmenters are not compared; monai-brain pool RUN... -o FOLDER puts the folds of one together")
    for failure in found.failures:
        errors.print(f"not trained: {failure}", markup=False, highlight=False)
    if found.failures:
        raise typer.Exit(EXIT_FINDINGS)


def _pool_folds(runs: list[Path], output: Path) -> None:
    """The folds of each network and seed together."""
    from monai_brain.report.evaluation import write_pooled_classes

    for network, seed in sorted({(run.parts[-3], run.name) for run in runs}):
        own = [run for run in runs if (run.parts[-3], run.name) == (network, seed)]
        folder = output / network / f"pooled_{seed}"
        console.print(f"{network}, {seed}, {len(own)} folds", markup=False)
        console.print(table_of_classes(write_pooled_classes(folder, own)))
        console.print(f"Page: {folder / 'report.html'}", soft_wrap=True, markup=False)


@app.command(rich_help_panel=TRAIN, epilog=example("compare runs/cnn runs/resnet50 -o COMPARISON"))
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders that were evaluated on their test parts.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the table, page and figures.", rich_help_panel=OUTPUT)
    ],
    overwrite: Overwrite = False,
) -> None:
    """Compare evaluated runs in one table, with a paired test for each pair."""
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.comparison import write_comparison

    refuse_existing(output, overwrite=overwrite)
    write_comparison(output, runs)
    console.print(f"Page: {output / 'comparison.html'}", soft_wrap=True, markup=False)


def table_of_classes(metrics: dict[str, Any]) -> Table:
    """Model and baseline, of a classifier's metrics.json."""
    table = Table("", "accuracy", "macro-F1", "of slices with tumor", title=f"{metrics['model']['images']} images")
    for name, key in (("model", "model"), ("1-nearest-neighbor", "nearest_neighbor")):
        if key not in metrics:  # of weights that came without what they learned from
            continue
        tumors = metrics["tumor_classes"] if key == "model" else metrics[key]["tumor_classes"]
        shown = f"{tumors['accuracy']:.4f}" if tumors else ""
        table.add_row(name, *(f"{metrics[key][figure]:.4f}" for figure in ("accuracy", "macro_f1")), shown)
    return table


def table_of_patients(metrics: dict[str, Any]) -> Table:
    """Dice, of a segmenter's metrics.json."""
    from monai_brain.report.segmentation import patient_table

    found = patient_table(metrics)
    table = Table(*found.columns, title=found.caption)
    for row in found.rows:
        table.add_row(*row)
    return table
