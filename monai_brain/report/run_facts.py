"""What a run's folder says about itself, in sentences that a paper can use."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai_brain.data.splits import LEAKY_SPLITS, PARTS, class_names_of
from monai_brain.evaluation.intervals import with_interval
from monai_brain.labels import in_words

DISJOINT = "No group is in two parts."


class InvalidRun(ValueError):
    """A folder that cannot be reported on, with the way out."""


class RunFiles(NamedTuple):
    """What was read from a run's folder."""

    folder: Path
    manifest: Mapping[str, Any]
    datalist: Mapping[str, Any]
    metrics: Mapping[str, Any]
    """Of the test part."""
    rows: list[dict[str, str]]
    """Cases of the test part; of a segmenter its patients."""
    external: Mapping[str, Mapping[str, Any]]
    """Metrics by the name of another evaluation."""
    explanations: list[str]
    """Folders of explanations inside the run."""
    calibration: Mapping[str, Any] | None

    @property
    def classifies(self) -> bool:
        """Whether it is a classifier's run."""
        return "model" in self.metrics


def read_run(folder: Path) -> RunFiles:
    """Read a training that was evaluated on its test part.

    Raises:
        InvalidRun: it is no finished training, or was not evaluated.
    """
    wanted = {
        "run.json": "give the folder of a training",
        "datalist.json": "give the folder of a training",
        "evaluation_test/metrics.json": f"run monai-brain evaluate {folder} --dataset-dir IMAGES first",
    }
    for name, way_out in wanted.items():
        if not (folder / name).is_file():
            raise InvalidRun(f"{folder}: has no {name}; {way_out}")
    manifest = _json(folder / "run.json")
    if "result" not in manifest:
        raise InvalidRun(f"{folder}: the training is not finished; continue it with --resume true")
    test = folder / "evaluation_test"
    tables = [own for name in ("predictions.csv", "patients.csv") if (own := test / name).is_file()]
    calibration = folder / "calibration.json"
    return RunFiles(
        folder,
        manifest,
        _json(folder / "datalist.json"),
        _json(test / "metrics.json"),
        _rows(tables[0]) if tables else [],
        {
            path.parent.name.removeprefix("evaluation_"): _json(path)
            for path in sorted(folder.glob("evaluation_*/metrics.json"))
            if path.parent != test
        },
        sorted(path.name for own in ("explanation_*", "localization_*") for path in folder.glob(own) if path.is_dir()),
        _json(calibration) if calibration.is_file() else None,
    )


def counts_by_part(run: RunFiles) -> list[list[str]]:
    """A row per part: images, groups, and images of each class (of a segmenter none)."""
    names = class_names_of(run.datalist) if run.classifies else ()
    rows = []
    for part in PARTS:
        items = run.datalist.get(part, [])
        groups = {item.get("group", item["image"]) for item in items}
        own = [str(sum(item["label"] == index for item in items)) for index in range(len(names))]
        rows.append([part, str(len(items)), str(len(groups)), *own])
    return rows


def facts_of(run: RunFiles) -> dict[str, str]:
    """Sentences by key; a key is missing where the run does not say."""
    found = {**_about_data(run), **_about_training(run), **_about_results(run)}
    return {key: sentence for key, sentence in found.items() if sentence}


def _about_data(run: RunFiles) -> dict[str, str]:
    datalist = run.datalist
    items = [item for part in PARTS for item in datalist.get(part, [])]
    sources = sorted({str(item["source"]) for item in items if "source" in item})
    counts = "; ".join(f"{part} {images} images of {groups} groups" for part, images, groups, *_ in counts_by_part(run))
    grouping = datalist.get("grouping", "")
    leaky = LEAKY_SPLITS.get(datalist.get("name", ""), "")
    institutions = sorted({str(item["institution"]) for item in items if item.get("institution")})
    return {
        "sources": f"Images of these sources: {', '.join(sources)}." if sources else "",
        "flow": f"The datalist has {len(items)} images: {counts}. What was left out before is listed by index.",
        "class_counts": f"{counts}; by class in the table of the data.",
        "partition": f"Split {datalist.get('name', 'without a name')}: {counts}."
        + (f" Groups: {grouping}." if grouping else ""),
        "disjoint": (f"{_divided(run)} Groups: {grouping}." if grouping else "")
        + (f" This split is leaky: {leaky}." if leaky else ""),
        "clusters": f"Figures by institution ({', '.join(institutions)}) are in the evaluation."
        if institutions
        else "",
        "predictors": "The pixels of the image; no clinical data.",
        "input": "Files that cannot be read, or are no MR slices, get a row with a code and no class.",
    }


def _divided(run: RunFiles) -> str:
    """How many groups are in several parts."""
    parts = [{item["group"] for item in run.datalist.get(part, []) if "group" in item} for part in PARTS]
    number = sum(sum(group in own for own in parts) > 1 for group in set().union(*parts))
    return f"{number} groups are in two parts or more, which makes the figures too high." if number else DISJOINT


def _about_training(run: RunFiles) -> dict[str, str]:
    options, result, settings = (run.manifest.get(key, {}) for key in ("options", "result", "settings"))
    versions = ", ".join(f"{name} {version}" for name, version in run.manifest["versions"].items() if version)
    network = network_name(run)
    size = settings.get("image_size")
    key = next((name for name in result if name.startswith("best_val")), "")
    phases = "; ".join(
        f"{', '.join(f'{layers} at {rate:g}' for layers, rate in own['layers'].items())}" for own in _phases(options)
    )
    weights = str(options.get("weights", "none"))
    return {
        "technique": f"Deep learning: {'classification' if run.classifies else 'segmentation'} by {network}.",
        "model": f"{network}, input {size} x {size} pixels, "
        f"{run.manifest.get('trained_parameters', 0):,} trained parameters; settings in run.json.",
        "preprocessing": f"{', then '.join(transform_names(settings))}.",
        "software": versions + ".",
        "initialization": "random." if weights == "none" else f"{Path(weights).name}; other layers at random.",
        "training": f"Up to {options.get('max_epochs')} epochs, batch size {options.get('batch_size')}, learning rate "
        f"{options.get('learning_rate')}, weight decay {options.get('weight_decay')}, precision "
        f"{options.get('precision')}, seed {options.get('seed')}.{_optimizer(options)}{_augmentation(options)}"
        + (f" Phases: {phases}." if phases else ""),
        "selection": f"The epoch with the best {_readable(key)} on the validation "
        f"part: epoch {result.get('best_epoch')} of {result.get('epochs')}."
        if key
        else "",
        "ensemble": "None: one network.",
        "imbalance": "Classes were weighted by their frequency in training." if options.get("balance_classes") else "",
        "updating": "The model was not updated after training.",
        "details": f"run.json holds every option; weights have the SHA-256 {result.get('weights_sha256')}.",
        "availability": f"MONAI Brain {run.manifest['versions'].get('monai-brain')}, Apache-2.0. Authors add where "
        "weights and data are.",
    }


def _about_results(run: RunFiles) -> dict[str, str]:
    metrics, uncertainty = run.metrics, f"{run.metrics['bootstrap']}."
    external = ", ".join(run.external)
    common = {
        "uncertainty": uncertainty[0].upper() + uncertainty[1:],
        "external": f"Also evaluated on: {external}." if external else "",
        "explanations": f"In the folders {', '.join(run.explanations)}." if run.explanations else "",
        "failures": "The worst cases are in the table of failures.",
        "single_cases": "Tables beside metrics.json have a row per case.",
        "calibration": "calibration.json, fitted on cases that the network did not learn from."
        if run.calibration
        else "",
        "limits": " ".join(limits_of(run)),
    }
    return common | (_of_classes(run) if run.classifies else _of_masks(metrics))


def _of_classes(run: RunFiles) -> dict[str, str]:
    model, metrics = run.metrics["model"], run.metrics
    figures = ", ".join(
        f"{name} {with_interval(model[key], model['intervals'].get(key)) if key in model['intervals'] else model[key]}"
        for name, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1"))
    )
    nearest = metrics.get("nearest_neighbor")
    return {
        "metrics": "Accuracy, macro-F1, macro-AUC; sensitivity, specificity, precision, F1 and AUC of each class.",
        "internal": f"Test part: {model['images']} images in {metrics['groups']} groups.",
        "performance": f"{figures[0].upper()}{figures[1:]}.",
        "per_class": "Each class is in the table of results, with the confusion matrix.",
        "prediction": "The class with the highest softmax probability.",
        "output": "A probability for each class; the highest names the class.",
        "thresholds": "AUC of each class beside sensitivity and specificity at the highest probability.",
        "aggregation": "Over images; means over classes count each class once; intervals resample groups.",
        "baselines": f"1-nearest-neighbor on thumbnails: accuracy {nearest['accuracy']:.3f}." if nearest else "",
        "target": "One class per slice.",
    }


def _of_masks(metrics: Mapping[str, Any]) -> dict[str, str]:
    own = metrics["patients"]
    rule = metrics["empty_masks"]
    return {
        "metrics": "Dice and IoU by patient and by slice, sensitivity, precision, HD95, size bias, lesions found.",
        "internal": f"Test part: {own['number']} patients.",
        "performance": f"Mean Dice of patients {with_interval(own['mean_dice'], own['mean_interval'])}, median "
        f"{with_interval(own['median_dice'], own['median_interval'])}.",
        "per_class": "One class, tumor.",
        "prediction": "Pixels above the threshold that the validation patients chose.",
        "output": "A mask per slice.",
        "borders": "Dice and in-plane HD95.",
        "empty": f"{rule[0].upper()}{rule[1:]}.",
        "aggregation": "All slices of a patient together; means and medians over patients.",
    }


def limits_of(run: RunFiles) -> list[str]:
    """What the run itself shows of its limits, a sentence each."""
    metrics, found = run.metrics, []
    if copies := metrics.get("copies_of_training"):
        found.append(f"{copies} test images are copies or mirror images of training images.")
    if name := LEAKY_SPLITS.get(run.datalist.get("name", "")):
        found.append(f"The split is leaky: {name}.")
    if not any("group" in item for item in run.datalist.get("test", [])):
        found.append("Which images belong to one patient is not known.")
    elif "near-duplicate" in run.datalist.get("grouping", "") or "likeness" in run.datalist.get("grouping", ""):
        found.append("Some groups are look-alikes and not patients: neighbors of one patient may be in two parts.")
    if absent := metrics.get("model", {}).get("absent_classes"):
        found.append(f"Classes without test images: {', '.join(map(in_words, absent))}.")
    if not run.external:
        found.append("Not tested on data of another origin.")
    if run.calibration is None and run.classifies:
        found.append("Probabilities are not calibrated.")
    return [*found, "Research use only; not a medical device."]


def network_name(run: RunFiles) -> str:
    """The network's class, with its arguments."""
    definition = run.manifest.get("settings", {}).get("network_def", {})
    arguments = ", ".join(f"{key} {value}" for key, value in definition.items() if key != "_target_")
    name = str(definition.get("_target_", run.manifest["options"].get("name", "a network"))).rpartition(".")[2]
    return f"{name} ({arguments})" if arguments else name


def transform_names(settings: Mapping[str, Any]) -> list[str]:
    """Names of the transforms, with what they were told."""
    steps = [*settings.get("deterministic_transforms", []), *settings.get("intensity_transforms", [])]
    found = []
    for step in steps:
        arguments = ", ".join(f"{key} {value}" for key, value in step.items() if key not in ("_target_", "keys"))
        name = step["_target_"].rpartition(".")[2].removesuffix("d")
        found.append(f"{name} ({arguments})" if arguments else name)
    return found


def failures_of(run: RunFiles, most: int = 10) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: the errors with the highest probability, or the patients with the lowest Dice."""
    if not run.classifies:
        rows = sorted((row for row in run.rows if row.get("dice")), key=lambda row: float(row["dice"]))
        return ["patient", "Dice"], [[row["patient"], f"{float(row['dice']):.3f}"] for row in rows[:most]]
    wrong = [row for row in run.rows if row["label"] != row["reference"]]
    wrong.sort(key=lambda row: -float(row[f"prob_{row['label']}"]))
    columns = ["image", "reference", "prediction", "probability"]
    cells = [
        [
            _short(row["path"]),
            in_words(row["reference"]),
            in_words(row["label"]),
            f"{float(row['prob_' + row['label']]):.3f}",
        ]
        for row in wrong[:most]
    ]
    return columns, cells


def _readable(key: str) -> str:
    return key.removeprefix("best_val_").replace("macro_f1", "macro-F1").replace("_", " ")


def _optimizer(options: Mapping[str, Any]) -> str:
    definition = (options.get("optimizers") or {}).get("optimizer") or {}
    name = str(definition.get("_target_", "")).rpartition(".")[2]
    return f" Optimizer {name}." if name else ""


def _augmentation(options: Mapping[str, Any]) -> str:
    steps = [step for own in (options.get("augmentation") or {}).values() if isinstance(own, list) for step in own]
    names = [str(step.get("_target_", "")).rpartition(".")[2].removesuffix("d") for step in steps]
    return f" Augmentation: {', '.join(names)}; parameters are in run.json." if names else ""


def _phases(options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [own for own in options.get("phases") or [] if isinstance(own.get("layers"), dict)]


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _short(path: str) -> str:
    """A path without the folders of this computer."""
    return "/".join(Path(path).parts[-3:])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
