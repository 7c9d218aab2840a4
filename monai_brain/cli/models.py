"""Commands for trained networks: score, pool, train several, compare."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from monai_brain.cli.shared import EXIT_FINDINGS, Overwrite, app, console, errors


@app.command()
def evaluate(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a training; or, with --datalist, a bundle that has weights, or masks that predict wrote."
        ),
    ],
    dataset_dir: Annotated[
        Path, typer.Option(envvar="MONAI_BRAIN_DATA", help="Folder that its datalist's paths are relative to.")
    ],
    part: Annotated[
        str, typer.Option(help="training, validation or test, or several of them, such as validation+test.")
    ] = "test",
    datalist: Annotated[
        Path | None, typer.Option(help="Take this datalist instead of the run's; for weights that a bundle has.")
    ] = None,
    external: Annotated[Path | None, typer.Option(help="Datalist of another data set to score it on.")] = None,
    external_dir: Annotated[Path | None, typer.Option(help="Folder that this one's paths are relative to.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="By default a folder inside the run.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Of masks: another output of this command, for a paired comparison.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Bundle: a folder or a name; by default the repository's classifier.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score a trained run on its own split or another data set; a classifier beside a nearest-neighbor baseline."""
    from monai_brain.inference.apply import evaluate_run

    if (run / "predictions.csv").is_file():
        _evaluate_masks(run, dataset_dir, part, datalist, output, against, overwrite)
        return
    if external_dir is not None and external is None:
        raise typer.BadParameter("name the other data set's datalist with --external")
    if datalist is not None and (run / "datalist.json").is_file():
        raise typer.BadParameter(f"{run} has a datalist; score it on other data with --external and --external-dir")
    optional = {"datalist": datalist, "external": external, "external_dir": external_dir, "output_dir": output}
    named = {key: str(value) for key, value in optional.items() if value is not None}
    folder = evaluate_run(run, dataset_dir, bundle=bundle, overwrite=overwrite, part=part, **named)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    console.print(_table_of_classes(metrics) if "model" in metrics else _table_of_patients(metrics))
    console.print(f"Page: {folder / 'report.html'}", soft_wrap=True, markup=False)


@app.command()
def pool(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of trainings on the folds, evaluated on their test parts.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for figures, table and page.")],
    overwrite: Overwrite = False,
) -> None:
    """Put the folds of a cross-validation together: every image, or every patient of a segmenter, once."""
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.comparison import is_classifier
    from monai_brain.report.evaluation import write_pooled_classes
    from monai_brain.report.segmentation import write_pooled

    refuse_existing(output, overwrite=overwrite)
    if (runs[0] / "evaluation_test" / "predictions.csv").is_file() and is_classifier(runs[0]):
        console.print(_table_of_classes(write_pooled_classes(output, runs)))
    else:
        console.print(_table_of_patients(write_pooled(output, runs)))
    console.print(f"Page: {output / 'report.html'}", soft_wrap=True, markup=False)


@app.command()
def study(
    plan: Annotated[Path, typer.Argument(help="YAML: dataset_dir, datalist or folds, networks; seeds, options.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Gets a run folder per network and seed.")],
    bundle: Annotated[Path | None, typer.Option(help="Bundle: a folder or a name; by default the repository's classifier.")] = None,
) -> None:
    """Train and evaluate several networks, on one datalist or by cross-validation; skips what is finished."""
    from monai_brain.inference.apply import find_bundle
    from monai_brain.report.comparison import is_classifier, write_comparison
    from monai_brain.training.study import read_study, run_study

    asked = read_study(plan, find_bundle(bundle))
    found = run_study(asked, output, told=lambda line: console.print(line, markup=False))
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
        console.print(_table_of_classes(write_pooled_classes(folder, own)))
        console.print(f"Page: {folder / 'report.html'}", soft_wrap=True, markup=False)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trainings that were evaluated on their test part.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for table, page and figures.")],
    overwrite: Overwrite = False,
) -> None:
    """Put trained and evaluated runs into one table, with a paired test for each two."""
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.comparison import write_comparison

    refuse_existing(output, overwrite=overwrite)
    write_comparison(output, runs)
    console.print(f"Page: {output / 'comparison.html'}", soft_wrap=True, markup=False)


def _evaluate_masks(
    run: Path,
    dataset_dir: Path,
    part: str,
    datalist: Path | None,
    output: Path | None,
    against: Path | None,
    overwrite: bool,
) -> None:
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.predicted_masks import score_predictions

    if datalist is None:
        raise typer.BadParameter(f"{run} has masks: name the datalist with their references, with --datalist")
    folder = output or run / f"evaluation_{part}"
    refuse_existing(folder, overwrite=overwrite)
    metrics = score_predictions(run, datalist, dataset_dir, folder, part=part, against=against)
    console.print(_table_of_patients(metrics))
    if "paired" in metrics:
        own = metrics["paired"]
        low, high = own["interval"]
        console.print(
            f"against {own['against']}, {own['patients']} patients: mean Dice {own['mean']:+.3f} ({low:+.3f} to "
            f"{high:+.3f}), {own['better']} better",
            soft_wrap=True,
            markup=False,
        )
    console.print(f"Page: {folder / 'report.html'}", soft_wrap=True, markup=False)


def _table_of_classes(metrics: dict[str, Any]) -> Table:
    table = Table("", "accuracy", "macro-F1", "of slices with tumor", title=f"{metrics['model']['images']} images")
    for name, key in (("model", "model"), ("1-nearest-neighbor", "nearest_neighbor")):
        if key not in metrics:  # of weights that came without what they learned from
            continue
        tumors = metrics["tumor_classes"] if key == "model" else metrics[key]["tumor_classes"]
        shown = f"{tumors['accuracy']:.4f}" if tumors else ""
        table.add_row(name, *(f"{metrics[key][figure]:.4f}" for figure in ("accuracy", "macro_f1")), shown)
    return table


def _table_of_patients(metrics: dict[str, Any]) -> Table:
    from monai_brain.report.segmentation import patient_table

    found = patient_table(metrics)
    table = Table(*found.columns, title=found.caption)
    for row in found.rows:
        table.add_row(*row)
    return table
