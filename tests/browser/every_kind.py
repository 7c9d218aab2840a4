"""One page of every kind, made from tiny data by what makes them for users."""

import shutil
from pathlib import Path

import cv2
import numpy as np

from monai_brain.inference.stress import _figures
from monai_brain.io.weights import write_weights
from monai_brain.io.write import sha256_of, write_csv, write_json
from monai_brain.labels import CLASS_NAMES
from monai_brain.networks.cnn import CNN
from monai_brain.report.audit import audit, read_set
from monai_brain.report.checklist_page import write_checklist
from monai_brain.report.comparison import write_comparison
from monai_brain.report.evaluation import write_evaluation
from monai_brain.report.explanations import FIGURES, write_explanations
from monai_brain.report.exploration import write_exploration
from monai_brain.report.localization import write_localization
from monai_brain.report.overlays import explanation_panel
from monai_brain.report.predictions import score_predictions_of_classes
from monai_brain.report.segmentation import write_segmentation_evaluation
from monai_brain.report.slice_figures import ExplainedSlice
from monai_brain.report.stress import write_stress_page
from monai_brain.report.worklist import Case, Patient, write_review, write_worklist
from monai_brain.transforms.corruptions import CORRUPTIONS
from tests.conftest import BUNDLE, draw_phantom

LONG = "Hospital of the Holy Ghost/study_2026-11-27/Head_with_contrast_T1_spin_echo_axial/patient_0007_slice_0042.png"


KINDS = {
    "audit": "audit/audit.html",
    "evaluation": "cnn/evaluation_test/report.html",
    "comparison": "comparison/comparison.html",
    "checklist": "checklist.html",
    "data set": "exploration.html",
    "predictions": "predictions/report.html",
    "stress": "stress.html",
    "explanations": "explanations/explanations.html",
    "localization": "localization/localization.html",
    "segmentation": "segmentation/report.html",
    "worklist": "run/report.html",
    "review": "run/review.html",
}
"""The page of each kind."""


def write_every_kind(folder):
    """Write all of `KINDS` below a folder, which is returned."""
    scans = draw_scans(folder / "scans")
    datalist = folder / "datalist.json"
    items = [
        {"image": str(path), "label": CLASS_NAMES.index(path.parent.name), "group": path.stem}
        for path in sorted((scans / "Testing").glob("*/*.png"))
        if "cut" not in path.name
    ]
    write_json(datalist, {"name": "phantoms", "class_names": list(CLASS_NAMES), "training": items, "test": items})
    runs = [write_run(folder / "cnn", items, datalist)]
    runs += [renamed(runs[0], name) for name in ("mobilenet_v2", "vgg16_refined")]
    audit(read_set(scans, 0), folder / "audit", workers=1)
    write_comparison(folder / "comparison", runs)
    write_checklist(runs[0], "claim2024", folder / "checklist.html")
    write_exploration(folder, datalist, scans, [BUNDLE / "configs" / "train.yaml"])
    write_predictions(folder / "predictions", items)
    write_stress_page(folder, stress_result())
    write_explained(folder, items)
    write_segmented(folder / "segmentation", items)
    write_folder_run(folder / "run")
    return folder


def draw_scans(folder):
    """Two parts of each class; a copy in both, and one under two classes."""
    for index, name in enumerate(CLASS_NAMES):
        for part, numbers in (("Training", range(4)), ("Testing", range(4, 8))):
            (folder / part / name).mkdir(parents=True)
            for number in numbers:
                picture = draw_phantom(index, number)
                cv2.imwrite(str(folder / part / name / f"patient_{index}{number:03d}_T1_contrast.png"), picture)
    copied = folder / "Training" / "glioma" / "patient_0000_T1_contrast.png"
    shutil.copy(copied, folder / "Testing" / "glioma" / "the_same_patient_again_with_a_long_name.png")
    shutil.copy(copied, folder / "Testing" / "notumor" / "the_same_patient_under_another_class.png")
    (folder / "Testing" / "notumor" / "cut_in_half.png").write_bytes(copied.read_bytes()[:99])
    return folder


def probabilities_of(items):
    random = np.random.default_rng(0)
    return random.dirichlet(np.ones(4) / 2, len(items)) / 2 + np.eye(4)[[item["label"] for item in items]] / 2


def write_run(run, items, datalist):
    """A finished training, evaluated on its test part, with what its pages read of it."""
    run.mkdir()
    write_weights(CNN(num_classes=4, image_size=32), run / "model.safetensors")
    digest = {"weights_sha256": sha256_of(run / "model.safetensors")}
    network = {"_target_": "monai_brain.networks.cnn.CNN", "num_classes": 4, "image_size": 32}
    manifest = {
        "options": {"name": run.name, "seed": 0, "max_epochs": 2},
        "versions": {"monai-brain": "0.1.0"},
        "result": {"best_val_macro_f1": 0.93755, "epochs": 2, "seconds": 1234.5, **digest},
        "settings": {"image_size": 32, "network_def": network},
        "datalist_sha256": sha256_of(datalist),
        "trained_parameters": 4_500_000,
    }
    write_json(run / "run.json", manifest)
    shutil.copy(datalist, run / "datalist.json")
    rows = [{"epoch": epoch, "val_macro_f1": 0.1696 * epoch} for epoch in (1, 2)]
    write_csv(run / "metrics.csv", list(rows[0]), rows)
    options = {"part": "test", **digest}
    write_evaluation(
        run / "evaluation_test", items, probabilities_of(items), items, part="test", options=options, seconds=1.5
    )
    return run


def renamed(run, name):
    """The same run under another name."""
    copied = Path(shutil.copytree(run, run.with_name(name)))
    text = (copied / "run.json").read_text()
    (copied / "run.json").write_text(text.replace(f'"name": "{run.name}"', f'"name": "{name}"'))
    return copied


def write_predictions(folder, items):
    folder.mkdir()
    chosen = probabilities_of(items).argmax(axis=1)
    predicted = [
        {"path": item["image"][-40:], "label": CLASS_NAMES[own]} for item, own in zip(items, chosen, strict=True)
    ]
    truth = [
        {"path": item["image"][-40:], "label": CLASS_NAMES[item["label"]], "patient": item["group"]} for item in items
    ]
    for name, rows in (("predicted", predicted), ("truth", truth)):
        write_csv(folder / f"{name}.csv", list(rows[0]), rows)
    score_predictions_of_classes(folder / "predicted.csv", folder / "truth.csv", folder)


def stress_result():
    number = sum(len(own.strengths) for own in CORRUPTIONS)
    rows = np.random.default_rng(0).integers(0, 2, (12, number)).astype(float)
    return {"slices": 12, "measure": "flip rate", "corruptions": _figures(rows)}


def write_explained(folder, items):
    random = np.random.default_rng(0)
    gray = draw_phantom(0, 0)

    def picture(index):
        return ExplainedSlice(gray, random.random((4, 4)))

    rows = [
        {"predicted": item["label"], "probability": 0.9, **dict.fromkeys(FIGURES, float(random.random()))}
        | {"inside_mask": float(random.random()), "mask_of_head": 0.05, "times_chance": 1.5, "peak_in_mask": 1.0}
        for item in items
    ]
    options = {"method": "gradcam"}
    write_explanations(folder / "explanations", items, rows, [0.1, 0.2, 0.3], picture=picture, options=options)
    write_localization(folder / "localization", items, rows, picture=picture, options=options)


def write_segmented(folder, items):
    scored, masks = [], []
    for item in items[:8]:
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 20:40] = 255
        path = folder / f"{item['group']}_mask.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), mask)
        scored.append({**item, "label": str(path)})
        masks.append(np.roll(mask > 0, 4, axis=0))
    write_segmentation_evaluation(folder, scored, masks, part="test", options={})


def write_folder_run(folder):
    """Worklist and review page of a run with a result, a set, an abstention, an error and skipped files."""
    gray = draw_phantom(0, 0, size=224)
    for name, picture in {
        "thumbnails/a.jpg": gray,
        "overlays/a.png": explanation_panel(gray, np.eye(7), "Grad-CAM for glioma"),
    }.items():
        (folder / name).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / name), picture)
    shown = ("thumbnails/a.jpg", "overlays/a.png")
    cases = [
        Case(LONG, "ok", "", "notumor", 0.4512, ["no tumor or pituitary tumor", "", "0.91"], ["learned_slice"], *shown),
        Case("a9.png", "ok", "", "meningioma", 0.9876, ["", "", "0.71"], [], *shown),
        Case("series.nii.gz", "ok", "", "glioma", 1.0, ["", "0.853", ""], ["volume_experimental"], *shown),
        Case("photo.jpg", "abstained", "not_a_head", "", None, ["", "", ""], ["in_color"], "thumbnails/a.jpg", ""),
        Case("cut.png", "error", "truncated", "", None, ["", "", ""], [], "", ""),
        Case("notes/README.txt", "skipped", "sidecar", "", None, ["", "", ""], [], "", ""),
    ]
    counts = {
        "status": {"abstained": 1, "error": 1, "ok": 3, "skipped": 1},
        "label": {"glioma": 1, "meningioma": 1, "notumor": 1},
    }
    patients = [Patient("patient_0007", 12, "notumor", 0.512, 0.75, "no tumor or glioma")]
    write_worklist(
        folder / "report.html",
        "Predictions",
        cases,
        counts,
        6,
        ["set", "agreement", "evidence_in_head"],
        CLASS_NAMES,
        note="Probabilities are calibrated.",
        patients=patients,
        all_patients=1,
        review="review.html",
    )
    write_review(folder / "review.html", "Review", cases[:3], CLASS_NAMES, 3)
