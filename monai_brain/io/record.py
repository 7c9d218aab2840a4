"""Small records: what is found, what reading gives, and a coded refusal."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SEQUENCES = ("t1", "flair", "t1c")
"""Channels of a head in several sequences, in the order of the LGG data: before contrast, FLAIR, after contrast."""


class Case(NamedTuple):
    """What one row of a result table is about."""

    id: str
    """Path relative to the folder that was searched, with `/` between its parts; unique in it."""
    files: tuple[Path, ...]
    kind: str
    """`slice` or `volume`: what its name announces."""
    sequences: tuple[str, ...] = ()
    """Of `SEQUENCES`, what each of several files shows; empty for one file."""
    refused: tuple[str, str] | None = None
    """Code and message of what was wrong with it when it was found: reading it says the same."""
    warnings: tuple[str, ...] = ()
    """Stable codes of what was odd about it when it was found: they stand among the image's."""
    series: str = ""
    """Of DICOM files, a hash of their series' UID; empty where there is none, and for other formats."""


class Skipped(NamedTuple):
    """A file that is no case, with the reason as a stable code."""

    id: str
    code: str
    """`sidecar`, `special_file` (FIFO, socket, device), `dangling_link`, `link_loop`, `link_out` (of the folder),
    `linked_folder` (inside the folder: its files are found where they lie), `folder` (named like an image; what lies
    in it is searched), `unreadable_folder`,
    `unused_sequence` (T2), `reference_mask`: of a head in several sequences; `no_pixels`: a DICOM object that is
    no image."""


class Limits(NamedTuple):
    """How large and how small an image may be."""

    max_bytes: int = 512 * 1024**2
    """Largest file that is opened."""
    max_pixels: int = 40_000_000
    """Largest image that is decoded; MR slices have 0.06 to 1 million pixels."""
    max_bytes_unpacked: int = 2 * 1024**3
    """Largest content of a compressed file."""
    max_voxels: int = 300_000_000
    """Largest volume that is decoded."""
    min_side_pixels: int = 32
    """Smallest height and width: below, nothing in a brain can be told apart."""


DEFAULT_LIMITS = Limits()


class Image(NamedTuple):
    """A decoded image, oriented with rows from top to bottom (height, width)."""

    pixels: np.ndarray
    """(C, H, W) for a slice, (C, D, H, W) for a volume; uint8, uint16 or float32, as the file has it; C is 1 or 3."""
    spacing_mm: tuple[float, ...] | None
    """Distance between neighboring pixels along H, W (or D, H, W); None where the file does not say."""
    affine_ras: np.ndarray | None
    """(4, 4) voxel indices (D, H, W) to millimeters right, anterior, superior; None where the file does not say."""
    kind: str
    """`slice` or `volume`."""
    warnings: tuple[str, ...] = ()
    """Stable codes of what was converted on the way."""
    channels: tuple[str, ...] = ()
    """Of `SEQUENCES`, what each channel shows; empty where that is not known."""
    window: tuple[float, float] | None = None
    """Center and width of the gray values that the file asks to be shown with; None where it does not say."""
    source: Any = None
    """What leads back to the file's own orientation: a volume's `VolumeSource`; None for a slice."""
    dicom: Any = None
    """What a DICOM segmentation repeats of its source, `io.dicom_source.DicomSource`: it names the patient, and goes
    nowhere else. None for other formats."""
    sequence: str = ""
    """What a DICOM header says it shows, of `io.sequences.SAID`; empty where it says nothing, and for other formats."""

    @property
    def pixel_size(self) -> float | None:
        """Square millimeters of a slice's pixel, cubic ones of a volume's voxel; None where the file does not say.

        By the determinant: axes of a sheared volume span less than the product of their lengths.
        """
        if self.spacing_mm is None:
            return None
        if self.kind == "slice" or self.affine_ras is None:
            return float(np.prod(self.spacing_mm))
        return float(abs(np.linalg.det(self.affine_ras[:3, :3])))


class UnreadableCase(ValueError):
    """A case that cannot be used, with a stable code for tables and a message for people.

    Codes: `empty_file`, `not_an_image`, `unsupported_format`, `truncated`, `damaged`, `too_large`, `too_small`,
    `no_signal`, `non_finite`, `several_pages`, `several_volumes`, `animated`, `bad_affine`, `geometry_mismatch`,
    `not_a_mask`, `not_mr`, `no_pixels`, `no_decoder`, `bad_rescale`, `mixed_series`, `missing_slices`,
    `no_positions`, `no_permission`, `vanished`, `changed`, `unreadable`,
    `out_of_memory`, `decoder_died`, `unsafe_archive`,
    `slices_out_of_range`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # survives the way out of a worker process
        return type(self), (self.code, str(self))
