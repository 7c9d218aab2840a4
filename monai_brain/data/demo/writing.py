"""Write demo data: class folders of slices, a patient in each name."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import torch

from monai_brain.data.demo.acquisition import PLANES, acquire_slice
from monai_brain.data.demo.anatomy import Draw
from monai_brain.data.demo.lesions import LESIONS, Head, Lesion
from monai_brain.io.write import atomic
from monai_brain.labels import CLASS_NAMES

SLICES_PER_PATIENT = 10
PATIENT_PATTERN = r"patient_(\d+)"
"""For `index --patient-pattern`."""

NOTICE = "Synthetic: rendered by MONAI Brain from the MNI152 template. No patient, not for diagnosis."

REACH = 0.55
"""Share of the radius within which slices cut a lesion, so that every slice of a patient shows it."""


class _Patient(NamedTuple):
    folder: Path
    number: int
    class_name: str
    seed: int
    slices: int


def write_demo_slices(
    folder: Path,
    *,
    patients: int,
    seed: int = 0,
    slices_per_patient: int = SLICES_PER_PATIENT,
    workers: int = 2,
    told: Callable[[], None] = lambda: None,
) -> int:
    """Write `patients` synthetic patients, the classes in turn, as 8-bit PNG slices of 256x256.

    The same arguments give the same pixels, whatever the number of workers.

    Args:
        folder: must be empty or missing; gets `<class>/synthetic_patient_<n>_<plane>_<k>.png`.
        patients: how many; a multiple of four fills the classes evenly.
        seed: of everything.
        slices_per_patient: in planes and positions drawn at random.
        workers: processes.
        told: called after each patient.

    Returns:
        Number of slices.

    Raises:
        FileExistsError: the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: not empty; give a new folder for the demo data")
    jobs = [
        _Patient(folder, number, CLASS_NAMES[number % len(CLASS_NAMES)], _seed(seed, number), slices_per_patient)
        for number in range(patients)
    ]
    with atomic(folder / "README.txt") as file:
        file.write(f"{NOTICE}\nSeed {seed}, {patients} patients. Group by patient with the pattern {PATIENT_PATTERN}\n")
    if workers <= 1:
        for job in jobs:
            _write_patient(job)
            told()
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_write_patient, jobs):
                told()
    return patients * slices_per_patient


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _write_patient(patient: _Patient) -> None:
    torch.set_num_threads(1)  # one process per core; and sums in one order
    head = Head(patient.class_name, patient.seed)
    random = np.random.default_rng(patient.seed)
    center_mm, reach_mm = _region(head, patient.seed)
    for index in range(patient.slices):
        plane = PLANES[int(random.integers(len(PLANES)))]
        along = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
        at_mm = float(center_mm[along]) + random.uniform(-reach_mm, reach_mm)
        image = acquire_slice(head, plane, at_mm, random).image
        name = f"synthetic_patient_{patient.number:04d}_{plane}_{index:02d}.png"
        _write_png(patient.folder / patient.class_name / name, image)


def _region(head: Head, seed: int) -> tuple[torch.Tensor, float]:
    """Where to cut: around the lesion; without one, where some lesion could be, lest the position tell the class."""
    lesion: Lesion | None = head.lesion
    if lesion is None:
        draw = Draw(seed + 1)
        kinds = [kind for kind in LESIONS.values() if kind]
        lesion = kinds[min(len(kinds) - 1, int(draw(0, len(kinds))))](head.anatomy, draw)
    return head.anatomy.scanner_position(lesion.center_mm), lesion.radius_mm * REACH


def _write_png(path: Path, image: np.ndarray) -> None:
    notice = PIL.PngImagePlugin.PngInfo()
    notice.add_text("Comment", NOTICE)
    with atomic(path, "wb") as file:
        PIL.Image.fromarray(image).save(file, format="PNG", pnginfo=notice)
