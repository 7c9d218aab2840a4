"""Commands for data: make, split, pair and draw them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from monai_brain.cli.shared import EXIT_FINDINGS, Bundle, Overwrite, app, console, errors

if TYPE_CHECKING:
    from monai_brain.data.grouping import Provenance


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
    overwrite: Overwrite = False,
) -> None:
    """Make synthetic MR: class folders of slices, or heads in three sequences with masks; without any download."""
    from rich.progress import Progress

    from monai_brain.data.demo import write_demo_slices, write_demo_volumes

    with Progress(console=errors) as progress:
        task = progress.add_task("rendering patients", total=patients)
        options: dict[str, Any] = {"patients": patients, "seed": seed, "workers": workers or os.cpu_count() or 1}
        options["overwrite"] = overwrite
        options["log"] = lambda: progress.advance(task)
        if layout == "classes":
            count = write_demo_slices(output, slices_per_patient=slices, **options)
        else:
            count = write_demo_volumes(output, layout=layout, **options)
    console.print(f"{count} synthetic slices of {patients} patients in {output}", soft_wrap=True)


@app.command()
def index(
    folder: Annotated[Path, typer.Argument(help="Holds one folder per class, or Training and Testing with these.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Datalist to write.")],
    patient_pattern: Annotated[
        str | None,
        typer.Option(help=r"Regular expression for the patient in a path, such as 'patient_(\d+)'."),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="Take this split, or with --fold this folds file, after checking file hashes.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=3, help="Write a folds file with so many folds, for study or --split.")
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(min=1, help="Fold to test, of --folds or a folds file; the next one validates, the others train."),
    ] = None,
    all_folds: Annotated[
        bool, typer.Option("--all-folds", help="Of folds: train and validate on all, for weights to hand out.")
    ] = False,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Group slices of the Cheng set by patient folds; leave copies out.")
    ] = False,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="With folds: another folds file, beside its images; its items train and validate too."),
    ] = None,
    keep_split: Annotated[
        bool, typer.Option("--keep-split", help="Keep the split of folders such as Training and Testing.")
    ] = False,
    classes: Annotated[
        str | None,
        typer.Option(help="Other classes than the four: names of the folders with commas between, or a file of lines."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read images.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Split class folders 70/15/15 or into folds, stratified, grouped by patient or by near-duplicate cluster."""
    from monai_brain.data.folds import read_folds
    from monai_brain.data.grouping import KNOWN_FOLDS
    from monai_brain.data.index import OTHER_CLASS, index_folder
    from monai_brain.data.splits import LEAKY_SPLITS, check_hashes, read_datalist
    from monai_brain.io.write import refuse_existing, write_json
    from monai_brain.labels import class_names_from

    refuse_existing(output, overwrite=overwrite)
    if split is not None and (keep_split or folds or provenance or classes is not None):
        raise typer.BadParameter(
            "--split names a file that says split and classes; leave out --keep-split, --classes, --folds, --provenance"
        )
    by_fold = fold is not None or all_folds
    if by_fold and split is None and folds is None:
        raise typer.BadParameter("--fold and --all-folds need a folds file, as --split, or --folds")
    if fold is not None and all_folds:
        raise typer.BadParameter("give --fold or --all-folds, one of the two")
    if also and not by_fold:
        raise typer.BadParameter("--also needs --fold or --all-folds")
    if folds and keep_split:
        raise typer.BadParameter("give --folds or --keep-split, one of the two")
    if provenance and (folds or KNOWN_FOLDS) != KNOWN_FOLDS:
        raise typer.BadParameter(f"--provenance knows {KNOWN_FOLDS} patient folds; give --folds {KNOWN_FOLDS}")
    if provenance and patient_pattern is not None:
        raise typer.BadParameter("patients are known by --patient-pattern or by --provenance; give one of the two")
    if split is not None:
        datalist = _one_fold(read_folds(split), fold, also, folder) if by_fold else read_datalist(split)
        problems = check_hashes(datalist, folder)
        if problems:
            errors.print("\n".join(problems[:10]), markup=False)
            errors.print(f"{len(problems)} file(s) of {split} do not fit {folder}; nothing was written", markup=False)
            raise typer.Exit(EXIT_FINDINGS)
        write_json(output, datalist)
        console.print(_table_of_parts(datalist))
        if datalist.get("name") in LEAKY_SPLITS:
            errors.print(f"warning: {datalist['name']} is leaky: {LEAKY_SPLITS[datalist['name']]}", soft_wrap=True)
        return
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


@app.command()
def audit(
    sets: Annotated[list[Path], typer.Argument(help="Folders of slices, or datalists.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the page, its pictures and audit.json.")],
    against: Annotated[Path | None, typer.Option(help="Another set: only pairs between it and the others.")] = None,
    dataset_dir: Annotated[
        Path | None, typer.Option(help="Folder that datalists' paths are relative to; by default the datalist's.")
    ] = None,
    split_to: Annotated[
        Path | None, typer.Option(help="Datalist to write: copies left out, look-alikes and known patients together.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Of folders, other classes than the four; see index.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read images.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Find copies (also mirrored and turned), leaks between parts, label conflicts, and slices of public sets."""
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


@app.command("index-pairs")
def index_pairs(
    folder: Annotated[Path, typer.Argument(help="Holds slices with their masks.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Datalist to write.")],
    fold: Annotated[int, typer.Option(min=0, help="The fold that is tested.")] = 0,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds, even over institutions.")] = 4,
    split: Annotated[Path | None, typer.Option(help="Take the folds of this file.")] = None,
    held_out: Annotated[bool, typer.Option("--held-out", help="Test the patients that this file holds out.")] = False,
    leave_out: Annotated[str | None, typer.Option(help="Test this institution instead of a fold.")] = None,
    patient_pattern: Annotated[
        str | None, typer.Option(help=r"Regular expression for the patient in a path, such as 'patient_(\d+)'.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the folds and of the patients who validate.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Pair slices with masks and split them by patient: one fold, one institution, or who is held out is tested."""
    from monai_brain.data.pairs import count_by_part, find_pairs, split_pairs
    from monai_brain.io.write import refuse_existing, write_json

    refuse_existing(output, overwrite=overwrite)
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


@app.command("label-slices")
def label_slices(
    folder: Annotated[Path, typer.Argument(help="Holds LGG slices (pre-contrast, FLAIR, post-contrast) with masks.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder for class folders and folds.json.")],
    split: Annotated[Path, typer.Option(help="File with the fold of every patient, and a list test.")],
    sequence: Annotated[str, typer.Option(help="t1, flair or t1c.")] = "t1c",
    tumor: Annotated[str, typer.Option(help="Class of slices with tumor.")] = "glioma",
    overwrite: Overwrite = False,
) -> None:
    """Label single slices of segmented heads by their masks: a tumor class, or no tumor; to train a classifier on."""
    from monai_brain.data.pairs import find_pairs, read_split
    from monai_brain.data.slice_labels import SEQUENCES, count_classes
    from monai_brain.data.slice_labels import label_slices as label
    from monai_brain.io.write import refuse_existing, write_json
    from monai_brain.labels import CLASS_NAMES

    refuse_existing(output, overwrite=overwrite)
    if sequence not in SEQUENCES:
        raise typer.BadParameter(f"sequence {sequence!r}; give one of {', '.join(SEQUENCES)}")
    if tumor not in CLASS_NAMES:
        raise typer.BadParameter(f"class {tumor!r}; give one of {', '.join(CLASS_NAMES)}")
    found = label(folder, find_pairs(folder).pairs, read_split(split), output, sequence=sequence, tumor=tumor)
    write_json(output / "folds.json", found.folds)
    write_json(output / "held_out.json", found.held_out)
    for name, items in (("folds.json", found.folds["items"]), ("held_out.json", found.held_out["test"])):
        counts = ", ".join(f"{count} {class_name}" for class_name, count in sorted(count_classes(items).items()))
        console.print(f"{name}: {counts}, of {len({item['group'] for item in items})} patients", soft_wrap=True)
    if found.without_sequence:
        console.print(f"left out, patients without {sequence}: {len(found.without_sequence)}", soft_wrap=True)


@app.command()
def slices(
    volumes: Annotated[Path, typer.Argument(help="Folder of volumes with their masks; or a table, cases.csv.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder for the slices.")],
    overwrite: Overwrite = False,
) -> None:
    """Take volumes with masks apart into slices with masks, to train a segmenter on; index-pairs comes next."""
    from rich.progress import Progress

    from monai_brain.data.volumes import find_volume_pairs, write_slices
    from monai_brain.io.write import refuse_existing

    refuse_existing(output, overwrite=overwrite)
    found = find_volume_pairs(volumes)
    with Progress(console=errors) as progress:
        task = progress.add_task("taking apart", total=len(found.pairs))
        refused = write_slices(found.pairs, output, lambda: progress.advance(task), overwrite=overwrite)
    console.print(f"{len(found.pairs) - len(refused)} volumes in slices in {output}", soft_wrap=True, markup=False)
    for path, reason in {**found.skipped, **refused}.items():
        errors.print(f"left out: {path}: {reason}", markup=False)
    if found.skipped or refused:
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def explore(
    datalist: Annotated[Path, typer.Argument(help="From monai-brain index.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the page and its figures.")],
    dataset_dir: Annotated[
        Path, typer.Option(envvar="MONAI_BRAIN_DATA", help="Folder that the datalist's paths are relative to.")
    ],
    network: Annotated[str | None, typer.Option(help="Overlay whose preprocessing is shown, such as cnn.")] = None,
    bundle: Bundle = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw what is in a data set: classes, examples, sizes, intensities, preprocessing and augmentation."""
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
