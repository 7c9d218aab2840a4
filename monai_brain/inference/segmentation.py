"""From logits of pixels to a mask for every case."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from monai_brain.explain.methods import Explainer, make_explainer
from monai_brain.explain.trust import to_gray, trust_of
from monai_brain.inference.evidence import EVIDENCE, MASK_EVIDENCE, evidence_of
from monai_brain.inference.postprocessing import DEFAULT_THRESHOLD, remove_small_components
from monai_brain.inference.prediction import Prediction
from monai_brain.inference.stream import OpenCase
from monai_brain.inference.task import Task, short_name
from monai_brain.io import Case
from monai_brain.io.deidentify import DeidentificationKey
from monai_brain.io.dicom_seg import NoSegmentation, write_segmentation
from monai_brain.io.nifti import write_mask
from monai_brain.io.sequences import named_sequence
from monai_brain.io.write import write_png
from monai_brain.report.explanations import METHOD_NAMES
from monai_brain.report.overlays import explanation_panel, outline_panel
from monai_brain.transforms.load import slices_with_tissue
from monai_brain.transforms.spatial import to_size_before

MILLILITER = 1000.0
"""Cubic millimeters."""

LABELS = {False: "no tumor", True: "tumor"}

KEY_SUFFIX = "_deidentification_key.csv"
"""After the output folder's name, beside that folder: who hands the folder on must not hand on the key."""

NO_DICOM_MASK = "no_dicom_mask"
"""Warning of a DICOM case whose mask could not be written as DICOM too, as nothing can refer to its files."""


UNKNOWN_SEQUENCE = "sequence_not_trained"
"""Code of a case that shows a sequence which the weights have not learned from: it gets no mask, as that would be as
sharp as any and mean nothing. Where a mask is forced it is a warning."""


class SliceOutput(NamedTuple):
    """What is kept of one slice."""

    mask: np.ndarray
    """bool (H, W), in the slice's own size, before small components go."""
    clear: float
    """How clear it is, in [0, 1]."""
    image: Tensor | None = None
    """The network's input (C, h, w), of slices with tumor that are explained."""
    found: Tensor | None = None
    """Its pixels of tumor, bool (1, h, w)."""
    heat: Tensor | None = None
    """Evidence for these pixels, (1, h, w); of volumes it is made at the end, for one slice."""


class Segmentation(Task):
    """The tumor's mask and size.

    Areas and volumes are given only where the file says how large a pixel is; otherwise there are only pixels and the
    warning `spacing_unknown`.

    Args:
        transforms: the deterministic ones that a slice goes through.
        threshold: of the probability of a pixel.
        smallest_area: of a slice's component that stays, square millimeters; pixels where the spacing is not known.
        smallest_volume: of a volume's component that stays, cubic millimeters; voxels likewise.
        sequences: that the weights have learned from. A case whose DICOM header, or else its name, says that it shows
            another one is refused; what says nothing is taken.
        force: give such a case a mask too, with a warning.
        masks: write a mask per case: PNG for a slice, NIfTI for a volume; of DICOM cases in which a tumor was found
            also a DICOM Segmentation, which repeats the patient and the study of its source.
        deidentify: replace patient and UIDs in the DICOM Segmentations and remove dates; the key is written beside
            the output folder, see `KEY_SUFFIX`.
        overlays: write a picture per case that has a tumor: its outline on the slice, or on the slice of a volume
            that shows most of it.
        explain: in that picture also where the evidence for the tumor was, and how far that can be trusted. Without a
            tumor there is nothing to explain.
        method: of `explain.methods.mask_methods()`.
        cam_layer: layer that Grad-CAM looks at.
    """

    columns = (
        *("tumor_pixels", "tumor_area_mm2", "tumor_volume_ml", "largest_slice", "mask", "dicom_mask"),
        *(*EVIDENCE, *MASK_EVIDENCE),
    )
    on_page = ("tumor_pixels", "tumor_area_mm2", "tumor_volume_ml", *EVIDENCE, *MASK_EVIDENCE)
    folders = ("masks", "overlays")
    labels = tuple(LABELS.values())
    verb = "segmenting"
    choose = staticmethod(slices_with_tissue)

    def __init__(
        self,
        transforms: Sequence[Any],
        *,
        threshold: float = DEFAULT_THRESHOLD,
        smallest_area: float = 0.0,
        smallest_volume: float = 0.0,
        sequences: Sequence[str] = ("flair",),
        force: bool = False,
        masks: bool = True,
        overlays: bool = False,
        deidentify: bool = False,
        explain: bool = False,
        method: str = "gradcam",
        cam_layer: str | None = None,
    ) -> None:
        self.transforms = transforms
        self.threshold = threshold
        self.smallest = {"slice": smallest_area, "volume": smallest_volume}
        self.sequences = tuple(sequences)
        self.force = force
        self.masks = masks
        self.overlays = overlays
        self.deidentify = deidentify
        self.divisible = not deidentify
        self.explain = self.asks_again = explain
        self.method = method
        self.cam_layer = cam_layer
        self.explainer: Explainer | None = None

    def begin(self, output: Path, cases: Iterable[Case]) -> None:
        """See `Task`."""
        super().begin(output, cases)
        self.names = mask_names(cases)
        self.key = DeidentificationKey(output.with_name(f"{output.name}{KEY_SUFFIX}")) if self.deidentify else None

    def ready(self, network: nn.Module) -> None:
        """See `Task`.

        Raises:
            UnknownMethod: an explanation is asked for that the network cannot be given.
            NoSuchLayer: the network has no layer of this name.
        """
        if self.explain:
            self.explainer = make_explainer(self.method, network, self.cam_layer, segmenter=True)

    def keep(self, engine: Engine, output: Mapping[str, Any], cases: Sequence[OpenCase]) -> Sequence[SliceOutput]:
        """The mask of each slice, and where it is explained what that takes."""
        probabilities = torch.sigmoid(output["pred"].detach().float())
        kept = [self._seen(own, case) for own, case in zip(probabilities.cpu().numpy()[:, 0], cases, strict=True)]
        with_tumor = [place for place, seen in enumerate(kept) if self.explain and seen.mask.any()]
        images = output["image"]
        found = (probabilities > self.threshold).to(images.device)  # engines of the CPU leave it there
        slices = [place for place in with_tumor if cases[place].image.kind == "slice"]
        heat = dict(zip(slices, self._maps(images[slices], found[slices]), strict=True)) if slices else {}
        for place in with_tumor:
            kept[place] = kept[place]._replace(
                image=images[place].cpu(), found=found[place].cpu(), heat=heat.get(place)
            )
        return kept

    def _seen(self, probabilities: np.ndarray, opened: OpenCase) -> SliceOutput:
        """The mask of a slice from the network's (h, w)."""
        if not np.isfinite(probabilities).all():
            return SliceOutput(np.zeros(opened.size, bool), float("nan"))
        own = to_size_before(probabilities, self.transforms, opened.size)
        mask = own > self.threshold
        inside = probabilities[probabilities > self.threshold]
        return SliceOutput(mask, float(inside.mean() if mask.any() else 1 - probabilities.max()))

    def finish(self, opened: OpenCase, engine: Engine) -> Prediction:
        """See `Task`."""
        case, kind = opened.case, opened.image.kind
        is_known = self.knows(opened)
        if not is_known and not self.force:
            return Prediction(case.id, "error", UNKNOWN_SEQUENCE, warnings=opened.warnings)
        clear = {position: own.clear for position, own in opened.outputs.items()}
        if not np.isfinite(list(clear.values())).all():
            return Prediction(case.id, "error", "non_finite_output", warnings=opened.warnings)
        mask = self.mask_of(opened)
        found = bool(mask.any())
        warnings = (*opened.warnings, *(() if opened.image.spacing_mm else ("spacing_unknown",)))
        warnings = (*warnings, *(() if is_known else (UNKNOWN_SEQUENCE,)))
        values: dict[str, Any] = {"tumor_pixels": int(mask.sum()), **_size(mask, opened.image.pixel_size)}
        largest = int(mask.reshape(len(mask), -1).sum(axis=1).argmax()) if kind == "volume" else 0
        if kind == "volume" and found:
            values["largest_slice"] = largest
        if self.masks:
            values["mask"] = self._write_mask(opened, mask)
            if opened.image.dicom is not None and found:
                try:
                    values["dicom_mask"] = self._write_dicom_mask(opened, mask)
                except NoSegmentation:
                    warnings = (*warnings, NO_DICOM_MASK)
        overlay = ""
        if self.explain and found:
            overlay, evidence, noted = self._write_explanation(opened, mask, largest, engine)
            values, warnings = values | evidence, (*warnings, *noted)
        elif self.overlays and found:
            overlay = self._write_overlay(opened, mask, largest)
        certainty = clear.get(largest, 1.0) if found else min(clear.values())
        return Prediction(case.id, "ok", "", LABELS[found], certainty, values, warnings, overlay)

    def close(self) -> None:
        """Take everything off the network."""
        if self.explainer is not None:
            self.explainer.close()

    def knows(self, opened: OpenCase) -> bool:
        """Whether a case shows what the weights have learned from, as far as its header or its name says."""
        if opened.image.channels:  # several sequences of one head
            return True
        said = opened.image.sequence or named_sequence(opened.case.id)
        return not said or said in self.sequences

    def mask_of(self, opened: OpenCase) -> np.ndarray:
        """The tumor of a case whose slices all came back, without small components; bool (H, W) or (D, H, W)."""
        smallest, pixel_size = self.smallest[opened.image.kind], opened.image.pixel_size or 1.0
        if opened.image.kind == "slice":
            return remove_small_components(opened.outputs[0].mask, smallest, pixel_size)
        mask = np.zeros(opened.image.pixels.shape[1:], bool)
        for position, own in opened.outputs.items():
            mask[position] = own.mask
        return remove_small_components(mask, smallest, pixel_size)

    def _write_dicom_mask(self, opened: OpenCase, mask: np.ndarray) -> str:
        """Raises NoSegmentation."""
        name = f"{self.names[opened.case.id]}.dcm"
        source = opened.image.dicom if self.key is None else self.key.replaced(opened.image.dicom)
        write_segmentation(self.output / name, mask, source, opened.image.source, deidentified=self.key is not None)
        return name

    def _write_mask(self, opened: OpenCase, mask: np.ndarray) -> str:
        name = self.names[opened.case.id]
        if opened.image.kind == "slice":
            write_png(self.output / f"{name}.png", mask.astype(np.uint8) * 255)
            return f"{name}.png"
        write_mask(self.output / f"{name}.nii.gz", mask, opened.image.source)
        return f"{name}.nii.gz"

    def _write_overlay(self, opened: OpenCase, mask: np.ndarray, largest: int) -> str:
        own = mask[largest] if opened.image.kind == "volume" else mask
        name = f"overlays/{short_name(opened.case.id)}.png"
        write_png(self.output / name, outline_panel(opened.gray(largest), own, opened.aspect))
        return name

    def _maps(self, images: Tensor, found: Tensor) -> Tensor:
        """Maps of a batch, (N, 1, h, w)."""
        assert self.explainer is not None  # `ready` made it
        return self.explainer(images, found).cpu()

    def _write_explanation(
        self, opened: OpenCase, mask: np.ndarray, largest: int, engine: Engine
    ) -> tuple[str, dict[str, str], tuple[str, ...]]:
        """Path of the overlay of one slice, what its map's mass says, and warnings."""
        seen = opened.outputs[largest]
        heat = seen.heat
        if heat is None:
            device = engine.state.device
            heat = self._maps(seen.image[None].to(device), seen.found[None].to(device))[0]
        # where the network looked: what it saw of padding counts too
        trust = trust_of(heat[0].numpy(), to_gray(seen.image.numpy()), seen.found[0].numpy())
        own = mask[largest] if opened.image.kind == "volume" else mask
        shown = to_size_before(heat[0].numpy(), self.transforms, opened.size)
        name = f"overlays/{short_name(opened.case.id)}.png"
        caption = f"{METHOD_NAMES[self.method]} for tumor"
        write_png(
            self.output / name, explanation_panel(opened.gray(largest), shown, caption, mask=own, aspect=opened.aspect)
        )
        return name, evidence_of(trust), trust.warnings


def _size(mask: np.ndarray, pixel_size: float | None) -> dict[str, str]:
    if pixel_size is None:
        return {}
    size = float(mask.sum()) * pixel_size
    if mask.ndim == 2:
        return {"tumor_area_mm2": f"{size:.1f}"}
    return {"tumor_volume_ml": f"{size / MILLILITER:.3f}"}


def mask_names(cases: Iterable[Case]) -> dict[str, str]:
    """Where each case's masks go, by its id, without their suffixes; no two in one place.

    A mask has its file's path without the suffix: `a.png` the mask `masks/a.png`. Where that would be another's too
    (`a.png` and `a.jpg`, or `a.jpg` and `a.jpg.png`), the suffix stays; and what has none gets one, so that a file that
    is added to a folder later takes no place that is taken.
    """
    stems = {case.id: _stem(case) for case in cases}
    number = Counter(stems.values())
    return {own: f"masks/{short_name(_own_name(own, stem, stems, number))}" for own, stem in stems.items()}


def _own_name(own: str, stem: str, stems: Mapping[str, str], number: Mapping[str, int]) -> str:
    if number[stem] == 1 and (stem == own or stem not in stems):
        return stem
    return own if number[own] == 0 else f"{own}.file"


def _stem(case: Case) -> str:
    """A case's path without the suffix of an image file; a name that a table gives it has none."""
    path = PurePosixPath(case.id)
    if path.name not in {file.name for file in case.files}:
        return case.id
    name = path.name[: -len(".gz")] if path.name.lower().endswith(".nii.gz") else path.name
    return str(path.with_name(PurePosixPath(name).stem or path.name))
