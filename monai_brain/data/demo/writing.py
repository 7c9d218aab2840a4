"""Write demo data: class folders of slices, a patient in each name; or heads in three sequences with their masks."""

import contextlib
import gzip
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import torch

from monai_brain.data.demo.acquisition import BRIGHT_PERCENTILE, PLANES, DemoVolume, acquire_slice, acquire_volume
from monai_brain.data.demo.anatomy import Draw
from monai_brain.data.demo.lesions import LESIONS, Head, Lesion
from monai_brain.io.write import atomic, refuse_existing
from monai_brain.labels import CLASS_NAMES

DEMO_PREFIX = "synthetic_"
"""Of the names of everything that is rendered."""

SLICES_PER_PATIENT = 10
PATIENT_PATTERN = r"patient_(\d+)"
"""For `index --patient-pattern`."""

NOTICE = "Synthetic: rendered by MONAI Brain from the MNI152 template. No patient, not for diagnosis."

REACH = 0.55
"""Share of the radius within which slices cut a lesion, so that every slice of a patient shows it."""


FULL_SCALE = 1000
"""Of the integers that volumes are stored as."""


class UnknownLayout(ValueError):
    """An unknown layout for demo data."""


class _Patient(NamedTuple):
    folder: Path
    number: int
    class_name: str
    seed: int
    slices: int


class _Volume(NamedTuple):
    folder: Path
    number: int
    seed: int
    layout: str
    size: int


def write_demo_slices(
    folder: Path,
    *,
    patients: int,
    seed: int = 0,
    slices_per_patient: int = SLICES_PER_PATIENT,
    workers: int = 2,
    log: Callable[[], None] = lambda: None,
    overwrite: bool = False,
) -> int:
    """Write `patients` synthetic patients, the classes in turn, as 8-bit PNG slices of 256x256.

    The same arguments give the same pixels, whatever the number of workers.

    Args:
        folder: must be empty or missing; gets `<class>/synthetic_patient_<n>_<plane>_<k>.png`.
        patients: how many; a multiple of four fills the classes evenly.
        seed: random seed; output is reproducible.
        slices_per_patient: in planes and positions drawn at random.
        workers: processes.
        log: called after each patient.
        overwrite: see `io.write.refuse_existing`.

    Returns:
        Number of slices.

    Raises:
        FileExistsError: the folder holds something already.
    """
    refuse_existing(folder, overwrite=overwrite)
    jobs = [
        _Patient(folder, number, CLASS_NAMES[number % len(CLASS_NAMES)], _seed(seed, number), slices_per_patient)
        for number in range(patients)
    ]
    with atomic(folder / "README.txt") as file:
        file.write(f"{NOTICE}\nSeed {seed}, {patients} patients. Group by patient with the pattern {PATIENT_PATTERN}\n")
    if workers <= 1:
        for job in jobs:
            _write_patient(job)
            log()
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_write_patient, jobs):
                log()
    return patients * slices_per_patient


def write_demo_volumes(
    folder: Path,
    *,
    patients: int,
    seed: int = 0,
    layout: str = "nifti",
    size: int = 128,
    workers: int = 2,
    log: Callable[[], None] = lambda: None,
    overwrite: bool = False,
) -> int:
    """Write `patients` synthetic patients with a glioma, T1, FLAIR and T1 with contrast, and what is tumor.

    Args:
        folder: must be empty or missing. `nifti`: `synthetic_<n>/synthetic_<n>-t1n.nii.gz`, `-t2f`, `-t1c`, `-seg`,
            as BraTS names them; `slices`: `TCGA_SY_<n>_00000000/TCGA_SY_<n>_00000000_<k>.tif` with three channels
            and `_mask.tif`, as the LGG data set has them.
        patients: how many.
        seed: random seed; output is reproducible.
        layout: `nifti` or `slices`.
        size: pixels per side of a slice.
        workers: processes.
        log: called after each patient.
        overwrite: see `io.write.refuse_existing`.

    Returns:
        Number of slices.

    Raises:
        FileExistsError: the folder holds something already.
        UnknownLayout: the layout is neither of the two.
    """
    if layout not in VOLUME_WRITERS:
        raise UnknownLayout(f"layout {layout!r} is not one of classes, {', '.join(VOLUME_WRITERS)}")
    refuse_existing(folder, overwrite=overwrite)
    jobs = [_Volume(folder, number, _seed(seed, number), layout, size) for number in range(patients)]
    with atomic(folder / "README.txt") as file:
        file.write(f"{NOTICE}\nSeed {seed}, {patients} patients with a glioma.\n")
    if workers <= 1:
        counts = []
        for job in jobs:
            counts.append(_write_volume(job))
            log()
        return sum(counts)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        counts = []
        for count in pool.map(_write_volume, jobs):
            counts.append(count)
            log()
    return sum(counts)


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One process per core, and sums in one order; the caller's threads come back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def _write_patient(patient: _Patient) -> None:
    head = Head(patient.class_name, patient.seed)
    random = np.random.default_rng(patient.seed)
    center_mm, reach_mm = _region(head, patient.seed)
    for index in range(patient.slices):
        plane = PLANES[int(random.integers(len(PLANES)))]
        along = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
        at_mm = float(center_mm[along]) + random.uniform(-reach_mm, reach_mm)
        image = acquire_slice(head, plane, at_mm, random).image
        name = f"{DEMO_PREFIX}patient_{patient.number:04d}_{plane}_{index:02d}.png"
        _write_png(patient.folder / patient.class_name / name, image)


def _region(head: Head, seed: int) -> tuple[torch.Tensor, float]:
    """Slice positions: around the lesion, or where one could be, so that the position does not reveal the class."""
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


@_one_thread()
def _write_volume(job: _Volume) -> int:
    volume = acquire_volume(Head("glioma", job.seed), np.random.default_rng(job.seed), job.size)
    VOLUME_WRITERS[job.layout](job, volume)
    return volume.mask.shape[-1]


def _write_nifti(job: _Volume, volume: DemoVolume) -> None:
    name = f"{DEMO_PREFIX}{job.number:04d}"
    for ending, sequence in (("t1n", "t1"), ("t2f", "flair"), ("t1c", "t1c")):
        voxels = np.rint(volume.sequences[sequence] * FULL_SCALE).astype(np.int16)
        _save_nifti(job.folder / name / f"{name}-{ending}.nii.gz", voxels, volume.affine_ras)
    _save_nifti(job.folder / name / f"{name}-seg.nii.gz", volume.mask.astype(np.uint8), volume.affine_ras)


def _save_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(voxels, affine)
    image.header["descrip"] = b"Synthetic, MONAI Brain"
    with atomic(path, "wb") as file:
        file.write(gzip.compress(image.to_bytes(), mtime=0))


def _write_lgg(job: _Volume, volume: DemoVolume) -> None:
    name = f"TCGA_SY_{job.number:04d}_00000000"
    white = {key: np.percentile(own, BRIGHT_PERCENTILE) for key, own in volume.sequences.items()}
    stacked = np.stack([volume.sequences[key] / white[key] for key in ("t1", "flair", "t1c")], axis=-1)
    pixels = (np.clip(stacked, 0, 1) * 255).astype(np.uint8)
    for index in range(volume.mask.shape[-1]):
        for content, ending in ((pixels[:, :, index], ""), (volume.mask[:, :, index] * np.uint8(255), "_mask")):
            turned = np.ascontiguousarray(content.swapaxes(0, 1)[::-1, ::-1])  # up is front, left is right
            with atomic(job.folder / name / f"{name}_{index + 1}{ending}.tif", "wb") as file:
                PIL.Image.fromarray(turned).save(file, format="TIFF", description=NOTICE)


VOLUME_WRITERS = {"nifti": _write_nifti, "slices": _write_lgg}
