"""One printable page about a run: what a paper needs, and a journal's checklist filled in as far as software can."""

import base64
from pathlib import Path
from typing import Any, NamedTuple

from monai_brain.evaluation.intervals import with_interval
from monai_brain.labels import in_words
from monai_brain.report.checklists import CHECKLISTS
from monai_brain.report.evaluation import evaluation_blocks
from monai_brain.report.html import Figure, Table, write_from_template
from monai_brain.report.run_facts import (
    InvalidRun,
    RunFiles,
    counts_by_part,
    facts_of,
    failures_of,
    limits_of,
    read_run,
)
from monai_brain.report.segmentation import lesion_table, patient_table

NOTE = (
    "MONAI Brain. Research use only; not a medical device. Made from the files of the run; nothing was measured anew."
)

SOFTWARE = (
    "M. J. Cardoso et al., MONAI: An open-source framework for deep learning in healthcare, 2022, arXiv 2211.02701",
    "A. Paszke et al., PyTorch: An Imperative Style, High-Performance Deep Learning Library, NeurIPS 2019",
)

NETWORKS = {
    "VGG": "K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015",
    "MobileNet": "M. Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018",
    "ResNet": "K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016",
    "UNet": "O. Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015",
}

EXPLANATIONS = "R. R. Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks, ICCV 2017"


class Section(NamedTuple):
    """A part of the page."""

    title: str
    lines: list[str]
    tables: list[Table]
    figures: list[tuple[str, str]] = []
    """Caption and content as a data address, so that the page is one file."""


def write_checklist(run: Path, checklist: str, page: Path) -> tuple[int, int]:
    """Write the page.

    Args:
        run: folder of a training that was evaluated on its test part.
        checklist: a key of `CHECKLISTS`.
        page: the `.html` file.

    Returns:
        Number of items that the run fills, and of all.

    Raises:
        InvalidRun: the folder is no such run, or there is no such checklist.
    """
    if checklist not in CHECKLISTS:
        raise InvalidRun(f"no checklist {checklist!r}; there are {', '.join(CHECKLISTS)}")
    found = read_run(run)
    facts = facts_of(found)
    asked = CHECKLISTS[checklist]
    rows = [(item, facts.get(item.fact or "", "")) for item in asked.items]
    answered = sum(bool(sentence) for _, sentence in rows)
    write_from_template(
        page,
        "checklist.html",
        title=f"Report on {found.manifest['options'].get('name', run.name)}",
        note=NOTE,
        sections=_sections(found, facts),
        checklist=asked,
        rows=rows,
        answered=answered,
        sources=_sources(found, facts, asked.source),
    )
    return answered, len(rows)


def methods_paragraph(facts: dict[str, str]) -> str:
    """What a methods section can say, from the manifest."""
    order = ["technique", "model", "preprocessing", "partition", "disjoint", "initialization", "training", "imbalance"]
    order += ["selection", "prediction", "metrics", "uncertainty", "software"]
    names = {"preprocessing": "Preprocessing: ", "initialization": "Initial weights: ", "training": "Training: "}
    names |= {"metrics": "Metrics: ", "software": "Software: ", "model": "Network: "}
    return " ".join(f"{names.get(key, '')}{facts[key]}" for key in order if key in facts)


def _sections(run: RunFiles, facts: dict[str, str]) -> list[Section]:
    names = [*map(in_words, run.metrics["model"]["per_class"])] if run.classifies else []
    data = Table("Images and groups by part", ["part", "images", "groups", *names], counts_by_part(run))
    columns, failures = failures_of(run)
    what = "Errors with the highest probability" if run.classifies else "Patients with the lowest Dice"
    sections = [
        Section("Methods", [methods_paragraph(facts)], []),
        Section("Flow and data", _lines(facts, "flow", "sources", "disjoint"), [data]),
        Section(
            "Training", _lines(facts, "training", "selection"), [], _figures(run, ("curves.png", "Learning curves"))
        ),
        Section("Results on the test part", _lines(facts, "performance"), _results(run), _result_figures(run)),
        Section("How much of it is memory", [OPTIMISM] if run.classifies else [], _optimism(run)),
        Section("Calibration", [facts.get("calibration", "Not calibrated: monai-brain calibrate.")], []),
        Section("Explanations", [facts.get("explanations", "None were computed: run explaining.")], []),
        Section("Failures", [], [Table(what, columns, failures)] if failures else []),
        Section("Limits", limits_of(run), []),
    ]
    return [own for own in sections if own.lines or own.tables or own.figures]


OPTIMISM = (
    "The nearest-neighbor baseline names the class of the most similar training image. What counts is the margin over "
    "it, and the accuracy on images that look like none in training."
)


def _lines(facts: dict[str, str], *keys: str) -> list[str]:
    return [facts[key] for key in keys if key in facts]


def _results(run: RunFiles) -> list[Table]:
    if run.classifies:
        return [block for block in evaluation_blocks(run.metrics) if isinstance(block, Table)]
    return [patient_table(run.metrics), *lesion_table(run.metrics)]


def _optimism(run: RunFiles) -> list[Table]:
    """The model and the baseline on all test images, on those like training images and unlike, and elsewhere."""
    if not run.classifies:
        return []
    nearest = run.metrics.get("nearest_neighbor")
    rows = [["test part", *_accuracies(run.metrics)]]
    for name, own in (nearest or {}).get("model_accuracy_by_likeness", {}).items():
        shown = "undefined" if own["accuracy"] is None else f"{own['accuracy']:.3f}"
        rows.append([f"of these, nearest training image with {name}", str(own["images"]), shown, ""])
    rows += [[name, *_accuracies(metrics)] for name, metrics in run.external.items() if "model" in metrics]
    return [Table("Accuracy by likeness to training images, and elsewhere", ["", "images", "model", "1-NN"], rows)]


def _accuracies(metrics: Any) -> list[str]:
    nearest = metrics.get("nearest_neighbor")
    shown = [
        "" if own is None else with_interval(own["accuracy"], own["intervals"]["accuracy"])
        for own in (metrics["model"], nearest)
    ]
    return [str(metrics["model"]["images"]), *shown]


def _result_figures(run: RunFiles) -> list[tuple[str, str]]:
    if not run.classifies:
        return []
    blocks = [block for block in evaluation_blocks(run.metrics, "evaluation_test/") if isinstance(block, Figure)]
    return _figures(run, *((block.path, block.caption) for block in blocks))


def _figures(run: RunFiles, *wanted: tuple[str, str]) -> list[tuple[str, str]]:
    found = []
    for name, caption in wanted:
        path = run.folder / name
        if path.is_file():
            content = base64.b64encode(path.read_bytes()).decode()
            found.append((caption, f"data:image/png;base64,{content}"))
    return found


def _sources(run: RunFiles, facts: dict[str, str], checklist: str) -> list[str]:
    networks = [source for name, source in NETWORKS.items() if name.lower() in facts["model"].lower()]
    explained = [EXPLANATIONS] if run.explanations else []
    version = run.manifest["versions"].get("monai-brain")
    return [f"MONAI Brain {version}, Apache-2.0 (CITATION.cff)", *SOFTWARE, *networks, *explained, checklist]
