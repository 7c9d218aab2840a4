"""Commands for data: make, split, pair and draw them."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from monai_brain.cli.shared import (
    DATA,
    EXIT_FINDINGS,
    INPUT,
    MODEL,
    OUTPUT,
    PATIENT_PATTERN,
    Bundle,
    Overwrite,
    Seed,
    Workers,
    app,
    console,
    errors,
    example,
    refuse_given,
)

if TYPE_CHECKING:
    from monai_brain.data.grouping import Provenance
    from monai_brain.data.index import Index

CLASSES, SPLIT, FOLDS = "Classes and patients", "Split", "Folds"
"""Panels of options."""


class Layout(StrEnum):
    """What `demo-data` writes."""

    CLASSES = "classes"
    NIFTI = "nifti"
    SLICES = "slices"


class MrSequence(StrEnum):
    """What `label-slices` takes from slices of three sequences."""

    T1 = "t1"
    FLAIR = "flair"
    T1C = "t1c"


class Tumor(StrEnum):
    """Classes of tumors."""

    GLIOMA = "glioma"
    MENINGIOMA = "meningioma"
    PITUITARY = "pituitary"


@app.command("demo-data", rich_help_panel=DATA, epilog=example("demo-data IMAGES --patients 20"))
def demo_data(
    context: typer.Context,
    output: Annotated[Path, typer.Argument(help="New folder for the synthetic images.")],
    layout: Annotated[
        Layout,
        typer.Option(
            help="Class folders of slices; volumes with masks (NIfTI); or slices with masks.", rich_help_panel=OUTPUT
        ),
    ] = Layout.CLASSES,
    patients: Annotated[int, typer.Option(min=1, help="Number of patients.", rich_help_panel=OUTPUT)] = 60,
    slices: Annotated[
        int, typer.Option(min=1, help="Slices per patient, with --layout classes.", rich_help_panel=OUTPUT)
    ] = 10,
    seed: Seed = 0,
    workers: Workers = None,
    overwrite: Overwrite = False,
) -> None:
    """Generate synthetic MR images of heads, without a download: class folders of slices, or volumes with masks."""
    from rich.progress import Progress

    from monai_brain.data.demo import write_demo_slices, write_demo_volumes

    if layout is not Layout.CLASSES:
        refuse_given(context, ["slices"], "applies to --layout classes only")
    with Progress(console=errors) as progress:
        task = progress.add_task("rendering patients", total=patients)
        options: dict[str, Any] = {"patients": patients, "seed": seed, "workers": workers or os.cpu_count() or 1}
        options["overwrite"] = overwrite
        options["log"] = lambda: progress.advance(task)
        if layout is Layout.CLASSES:
            count = write_demo_slices(output, slices_per_patient=slices, **options)
        else:
            count = write_demo_volumes(output, layout=layout.value, **options)
    console.print(f"{count} synthetic slices of {patients} patients in {output}", soft_wrap=True)


@app.command(
    rich_help_panel=DATA,
    epilog=example(
        "index IMAGES -o IMAGES/datalist.json", "index IMAGES -o IMAGES/fold1.json --split folds.json --fold 1"
    ),
)
def index(
    folder: Annotated[Path, typer.Argument(help="Folder with one folder per class, or with Training and Testing.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Datalist to write.", rich_help_panel=OUTPUT)],
    classes: Annotated[
        str | None,
        typer.Option(
            help="Class folders, separated by commas, or a file with one class per line.",
            show_default="glioma, meningioma, notumor, pituitary",
            rich_help_panel=CLASSES,
        ),
    ] = None,
    patient_pattern: Annotated[str | None, typer.Option(help=PATIENT_PATTERN, rich_help_panel=CLASSES)] = None,
    provenance: Annotated[
        bool,
        typer.Option(
            "--provenance",
            help="Group slices of the public Cheng set by its patient folds, and leave out copies.",
            rich_help_panel=CLASSES,
        ),
    ] = False,
    keep_split: Annotated[
        bool,
        typer.Option(
            "--keep-split", help="Keep the split of folders such as Training and Testing.", rich_help_panel=SPLIT
        ),
    ] = False,
    split: Annotated[
        Path | None,
        typer.Option(
            help="Use this split (with --fold: this folds file) after checking its file hashes.", rich_help_panel=SPLIT
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=3, help="Write this many folds, for study or --split.", rich_help_panel=FOLDS),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=(
                "Fold to test on, with --folds or a folds file; the next fold is for validation, the "
                "others are for training."
            ),
            rich_help_panel=FOLDS,
        ),
    ] = None,
    all_folds: Annotated[
        bool,
        typer.Option(
            "--all-folds", help="Train and validate on all folds, for weights to publish.", rich_help_panel=FOLDS
        ),
    ] = False,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            help="Also train and validate on the images of this folds file, which must be in their folder.",
            rich_help_panel=FOLDS,
        ),
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    overwrite: Overwrite = False,
) -> None:
    """Split class folders 70/15/15 or into folds, stratified, grouped by patient or by near-duplicate cluster."""
    from monai_brain.io.write import refuse_existing

    refuse_existing(output, overwrite=overwrite)
    if split is not None and (keep_split or folds or provenance or classes is not None):
        raise typer.BadParameter(
            "--split names a file that says split and classes; leave out --keep-split, --classes, --folds, --provenance"
        )
    by_fold = fold is not None or all_folds
    _check_folds(by_fold, split, folds, fold, all_folds, also, keep_split)
    _check_provenance(provenance, folds, patient_pattern)
    if split is not None:
        _index_by_split(folder, output, split, fold, also, by_fold)
        return
    from monai_brain.data.index import index_folder
    from monai_brain.io.write import write_json
    from monai_brain.labels import class_names_from

    found = index_folder(
        folder,
        patient_pattern=patient_pattern,
        class_names=class_names_from(classes) if classes is not None else None,
        keep_split=keep_split,
        folds=folds,
        provenance=provenance,
        seed=seed,
        workers=workers or os.cpu_count() or 1,
    )
    datalist = _one_fold(found.datalist, fold, also, folder) if by_fold else found.datalist
    write_json(output, datalist)
    _print_index(found, datalist, folder)


def _check_folds(
    by_fold: bool,
    split: Path | None,
    folds: int | None,
    fold: int | None,
    all_folds: bool,
    also: list[Path] | None,
    keep_split: bool,
) -> None:
    if by_fold and split is None and folds is None:
        raise typer.BadParameter("--fold and --all-folds need a folds file, as --split, or --folds")
    if fold is not None and all_folds:
        raise typer.BadParameter("give either --fold or --all-folds")
    if also and not by_fold:
        raise typer.BadParameter("--also needs --fold or --all-folds")
    if folds and keep_split:
        raise typer.BadParameter("give either --folds or --keep-split")


def _check_provenance(provenance: bool, folds: int | None, patient_pattern: str | None) -> None:
    if not provenance:
        return
    from monai_brain.data.grouping import KNOWN_FOLDS

    if (folds or KNOWN_FOLDS) != KNOWN_FOLDS:
        raise typer.BadParameter(f"--provenance knows {KNOWN_FOLDS} patient folds; give --folds {KNOWN_FOLDS}")
    if patient_pattern is not None:
        raise typer.BadParameter("give either --patient-pattern or --provenance; each says which patient is which")


def _index_by_split(
    folder: Path, output: Path, split: Path, fold: int | None, also: list[Path] | None, by_fold: bool
) -> None:
    from monai_brain.data.folds import read_folds
    from monai_brain.data.splits import LEAKY_SPLITS, check_hashes, read_datalist
    from monai_brain.io.write import write_json

    datalist = _one_fold(read_folds(split), fold, also, folder) if by_fold else read_datalist(split)
    problems = check_hashes(datalist, folder)
    if problems:
        errors.print("\n".join(problems[:10]), markup=False)
        errors.print(f"{len(problems)} file(s) of {split} do not match {folder}; nothing was written", markup=False)
        raise typer.Exit(EXIT_FINDINGS)
    write_json(output, datalist)
    console.print(_table_of_parts(datalist))
    if datalist.get("name") in LEAKY_SPLITS:
        errors.print(f"warning: {datalist['name']} is leaky: {LEAKY_SPLITS[datalist['name']]}", soft_wrap=True)


def _print_index(found: "Index", datalist: dict[str, Any], folder: Path) -> None:
    from monai_brain.data.index import OTHER_CLASS

    console.print(_table_of_parts(datalist))
    if found.provenance is not None:
        _print_provenance(found.provenance)
    twins = found.duplicates
    console.print(
        f"near-duplicates: {twins.near} images, {twins.exact} of them exact copies, "
        f"{twins.near_of_other_class} with another label on the copy"
    )
    console.print(f"groups: {datalist['grouping']}", soft_wrap=True, markup=False)
    if found.divided_groups:
        errors.print(
            f"warning: {found.divided_groups} group(s) are in two parts of the split that was kept: figures on its "
            f"test part will be too high; for a new split: monai-brain audit {folder} -o AUDIT --split-to DATALIST",
            markup=False,
        )
    for path, code in found.refused.items():
        errors.print(f"left out: {path} ({code})", markup=False)
    if any(code not in ("sidecar", OTHER_CLASS) for code in found.refused.values()):
        raise typer.Exit(EXIT_FINDINGS)


def _one_fold(folds: dict[str, Any], fold: int | None, also: list[Path] | None, folder: Path) -> dict[str, Any]:
    """The datalist of one fold, with other sets added."""
    from monai_brain.data.folds import add_items, fold_datalist, read_folds

    datalist = fold_datalist(folds, fold)
    for place in also or []:
        add_items(datalist, read_folds(place), fold, os.path.relpath(place.parent, folder))
    return datalist


def _print_provenance(found: "Provenance") -> None:
    known = [own for own in found.known if own]
    folds = f", in the patient folds {', '.join(map(str, sorted({own.fold for own in known})))}" if known else ""
    console.print(
        f"{len(known)} images are slices of the Cheng set, {sum(own.mirrored for own in known)} mirrored{folds}; "
        f"{len(found.known) - len(found.distinct())} copies are left out",
        soft_wrap=True,
    )


@app.command(rich_help_panel=DATA, epilog=example("audit IMAGES -o AUDIT --split-to IMAGES/datalist.json"))
def audit(
    sets: Annotated[list[Path], typer.Argument(help="Folders of slices, or datalists.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="Folder for the page, its pictures and audit.json.", rich_help_panel=OUTPUT
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(help="Another set; only pairs between it and the others are compared.", rich_help_panel=INPUT),
    ] = None,
    dataset_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder that paths in datalists are relative to.",
            show_default="the datalist's own",
            rich_help_panel=INPUT,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Class folders, separated by commas, or a file with one class per line.",
            show_default="glioma, meningioma, notumor, pituitary",
            rich_help_panel=INPUT,
        ),
    ] = None,
    split_to: Annotated[
        Path | None,
        typer.Option(
            help="Write a datalist without copies. Look-alikes, and slices of a known patient, stay in the same part.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
) -> None:
    """Find copies (mirrored and rotated too), leaks between parts, label conflicts and slices of public sets."""
    from monai_brain.io.write import refuse_existing, write_json
    from monai_brain.labels import CLASS_NAMES, class_names_from
    from monai_brain.report.audit import audit as audit_sets
    from monai_brain.report.audit import grouped_split, read_set

    refuse_existing(output, split_to, overwrite=overwrite)
    names = class_names_from(classes) if classes is not None else CLASS_NAMES
    places = [*sets, against] if against is not None else sets
    entries = [entry for number, place in enumerate(places) for entry in read_set(place, number, dataset_dir, names)]
    processes = workers or os.cpu_count() or 1
    found = audit_sets(entries, output, workers=processes, against=against is not None)
    _print_audit(found)
    if split_to is not None:
        datalist = grouped_split([entry for entry in entries if entry.source == 0], processes)
        write_json(split_to, datalist)
        console.print(_table_of_parts(datalist))
    console.print(f"Page: {output / 'audit.html'}", soft_wrap=True, markup=False)
    if found["leaks"]:
        raise typer.Exit(EXIT_FINDINGS)


def _print_audit(found: dict[str, Any]) -> None:
    from monai_brain.evaluation.intervals import with_interval

    copies = found["copies"]
    console.print(
        f"{found['pictures']} pictures, {copies['distinct_pictures']} distinct; {copies['pictures_with_a_copy']} have "
        f"a copy ({copies['pairs_mirrored']} pairs mirrored, {copies['pairs_turned']} turned); "
        f"{len(found['conflicts'])} pairs of copies under two classes",
        soft_wrap=True,
    )
    for row in found["between"]:
        if row["parts"] or row["sets"]:
            console.print(
                f"leak: {row['first']} and {row['second']} share {row['pairs']} pairs of copies", markup=False
            )
    for source, own in found["provenance"].items():
        folds = f", in the patient folds {', '.join(map(str, own['folds']))}" if own["folds"] else ""
        console.print(
            f"{own['pictures']} pictures are slices of a public set ({source}), {own['mirrored']} mirrored{folds}",
            soft_wrap=True,
        )
    for name, own in found["shortcuts"].get("baselines", {}).items():
        console.print(f"{name}: accuracy {with_interval(own['accuracy'], own['interval'])}")


@app.command(
    "index-pairs", rich_help_panel=DATA, epilog=example("index-pairs SLICES -o SLICES/datalist.json --folds 5 --fold 0")
)
def index_pairs(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of slices with their masks.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Datalist to write.", rich_help_panel=OUTPUT)],
    patient_pattern: Annotated[str | None, typer.Option(help=PATIENT_PATTERN, rich_help_panel=INPUT)] = None,
    fold: Annotated[int, typer.Option(min=0, help="Fold to test on, counted from 0.", rich_help_panel=SPLIT)] = 0,
    folds: Annotated[
        int, typer.Option(min=2, help="Number of folds, balanced over institutions.", rich_help_panel=SPLIT)
    ] = 4,
    split: Annotated[Path | None, typer.Option(help="Use the folds of this file.", rich_help_panel=SPLIT)] = None,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Test on the patients that the --split file holds out.", rich_help_panel=SPLIT),
    ] = False,
    leave_out: Annotated[
        str | None, typer.Option(help="Test on this institution instead of a fold.", rich_help_panel=SPLIT)
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Pair slices with masks and split them by patient; test on a fold, an institution or held-out patients."""
    from monai_brain.data.pairs import count_by_part, find_pairs, split_pairs
    from monai_brain.io.write import refuse_existing, write_json

    refuse_existing(output, overwrite=overwrite)
    if split is not None:
        refuse_given(context, ["folds"], "has no effect with --split, whose file has its own folds")
    if held_out or leave_out is not None:
        refuse_given(context, ["fold"], "has no effect with --held-out or --leave-out")
    found = find_pairs(folder, patient_pattern=patient_pattern)
    datalist = split_pairs(
        found.pairs, fold=fold, folds=folds, split=split, held_out=held_out, institution=leave_out, seed=seed
    )
    write_json(output, datalist)
    table = Table("part", "slices", "with tumor", "patients", title=datalist["name"])
    for part, counts in count_by_part(datalist).items():
        table.add_row(part, *map(str, counts))
    console.print(table)
    for path, code in found.refused.items():
        errors.print(f"left out: {path} ({code})", markup=False)
    if found.refused:
        raise typer.Exit(EXIT_FINDINGS)


@app.command(
    "label-slices", rich_help_panel=DATA, epilog=example("label-slices LGG -o HEADS --split split.json --sequence t1c")
)
def label_slices(
    folder: Annotated[
        Path, typer.Argument(help="Folder of LGG slices (pre-contrast, FLAIR, post-contrast) with masks.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="New folder for class folders and folds.json.", rich_help_panel=OUTPUT),
    ],
    split: Annotated[
        Path,
        typer.Option(
            help="File with the fold of every patient, and the held-out patients under `test`.", rich_help_panel=INPUT
        ),
    ],
    sequence: Annotated[MrSequence, typer.Option(help="Sequence to use.", rich_help_panel=INPUT)] = MrSequence.T1C,
    tumor: Annotated[Tumor, typer.Option(help="Class of slices with tumor.", rich_help_panel=INPUT)] = Tumor.GLIOMA,
    overwrite: Overwrite = False,
) -> None:
    """Label slices of segmented heads as tumor or no tumor by their masks, to train a classifier."""
    from monai_brain.data.pairs import find_pairs, read_split
    from monai_brain.data.slice_labels import count_classes
    from monai_brain.data.slice_labels import label_slices as label
    from monai_brain.io.write import refuse_existing, write_json

    refuse_existing(output, overwrite=overwrite)
    found = label(
        folder, find_pairs(folder).pairs, read_split(split), output, sequence=sequence.value, tumor=tumor.value
    )
    write_json(output / "folds.json", found.folds)
    write_json(output / "held_out.json", found.held_out)
    for name, items in (("folds.json", found.folds["items"]), ("held_out.json", found.held_out["test"])):
        counts = ", ".join(f"{count} {class_name}" for class_name, count in sorted(count_classes(items).items()))
        console.print(f"{name}: {counts}, of {len({item['group'] for item in items})} patients", soft_wrap=True)
    if found.without_sequence:
        console.print(f"left out, patients without {sequence.value}: {len(found.without_sequence)}", soft_wrap=True)


@app.command(rich_help_panel=DATA, epilog=example("slices VOLUMES -o SLICES"))
def slices(
    volumes: Annotated[Path, typer.Argument(help="Folder of volumes with their masks, or a table (cases.csv).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder for the slices.", rich_help_panel=OUTPUT)],
    overwrite: Overwrite = False,
) -> None:
    """Cut volumes with masks into slices with masks, to train a segmenter; continue with index-pairs."""
    from rich.progress import Progress

    from monai_brain.data.volumes import find_volume_pairs, write_slices
    from monai_brain.io.write import refuse_existing

    refuse_existing(output, overwrite=overwrite)
    found = find_volume_pairs(volumes)
    with Progress(console=errors) as progress:
        task = progress.add_task("cutting into slices", total=len(found.pairs))
        refused = write_slices(found.pairs, output, lambda: progress.advance(task), overwrite=overwrite)
    console.print(f"{len(found.pairs) - len(refused)} volumes in slices in {output}", soft_wrap=True, markup=False)
    for path, reason in {**found.skipped, **refused}.items():
        errors.print(f"left out: {path}: {reason}", markup=False)
    if found.skipped or refused:
        raise typer.Exit(EXIT_FINDINGS)


@app.command(rich_help_panel=DATA, epilog=example("explore IMAGES/datalist.json -o PAGE --dataset-dir IMAGES"))
def explore(
    datalist: Annotated[Path, typer.Argument(help="Datalist, as written by monai-brain index.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the page and its figures.", rich_help_panel=OUTPUT)
    ],
    dataset_dir: Annotated[
        Path,
        typer.Option(
            envvar="MONAI_BRAIN_DATA",
            help="Folder that the datalist's paths are relative to.",
            rich_help_panel=INPUT,
        ),
    ],
    network: Annotated[
        str | None, typer.Option(help="Network whose preprocessing is shown, such as cnn.", rich_help_panel=MODEL)
    ] = None,
    bundle: Bundle = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Show what a data set contains: classes, examples, sizes, intensities, preprocessing and augmentation."""
    from monai_brain.inference.apply import find_bundle
    from monai_brain.io.write import refuse_existing
    from monai_brain.report.exploration import write_exploration

    refuse_existing(output, overwrite=overwrite)
    configs = find_bundle(bundle) / "configs"
    files = [configs / "train.yaml"]
    if network is not None:
        files.append(configs / "networks" / f"{network}.yaml")
        if not files[-1].is_file():
            raise FileNotFoundError(f"{files[-1]}: no such overlay")
    write_exploration(output, datalist, dataset_dir, files, seed)
    console.print(f"Page: {output / 'exploration.html'}", soft_wrap=True, markup=False)


def _table_of_parts(datalist: dict[str, Any]) -> Table:
    from monai_brain.data.index import count_by_class

    table = Table("part", *datalist["class_names"], title="images (groups)")
    for part, classes in count_by_class(datalist).items():
        table.add_row(part, *(f"{images} ({groups})" for images, groups in classes.values()))
    return table
