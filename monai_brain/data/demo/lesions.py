"""The three tumors: where they grow, how they look in each sequence, what they push aside."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from monai_brain.data.demo.anatomy import T1C, Anatomy, Contrast, Draw, Location, sample

SELLA_MM = (0.0, 4.0, -27.0)
"""Where the pituitary lies, in the atlas."""

TRIES = 4000


class Lesion(ABC):
    """A tumor of a subject, as a function of coordinates.

    Args:
        anatomy: whose brain it grows in.
        draw: the subject's numbers.
    """

    def __init__(self, anatomy: Anatomy, draw: Draw) -> None:
        self.lumps = draw.noise(9)
        self.radius_mm, self.center_mm = self.site(anatomy, draw)

    @abstractmethod
    def site(self, anatomy: Anatomy, draw: Draw) -> tuple[float, Tensor]:
        """Radius and center, in the subject's space."""

    @abstractmethod
    def paint(
        self, image: Tensor, surface_mm: Tensor, lumps: Tensor, at: Location, contrast: Contrast
    ) -> tuple[Tensor, Tensor]:
        """The image with the tumor in it, and its mask as a share from 0 to 1.

        Args:
            image: intensity of the points.
            surface_mm: distance of the points from the center, less the radius.
            lumps: noise of 9 mm.
            at: the points.
            contrast: what tissues look like.

        On FLAIR the mask holds all that is not normal there, edema too.
        """

    def push(self, subject_mm: Tensor) -> Tensor:
        """Where the tissue at these points was before the tumor grew."""
        offset = self.center_mm - subject_mm
        share = torch.exp(-((offset.norm(dim=-1) / (self.radius_mm * 1.8)) ** 2)) * 0.45
        return subject_mm + offset * share[..., None]

    def __call__(self, image: Tensor, at: Location, contrast: Contrast = T1C) -> tuple[Tensor, Tensor]:
        """The image with the tumor in it, and the share of tumor, both of the points' shape."""
        distance_mm = (at.subject_mm - self.center_mm).norm(dim=-1)
        return self.paint(image, distance_mm - self.radius_mm, sample(self.lumps, at.subject_mm)[0], at, contrast)


class Glioma(Lesion):
    """Irregular, in white matter: dark core, enhancing rim, edema around."""

    def site(self, anatomy: Anatomy, draw: Draw) -> tuple[float, Tensor]:
        """Deep enough for its size, in white matter."""
        self.core, self.rim_mm, self.edema_mm = draw(0.12, 0.25), draw(2.0, 5.0), draw(4, 16)
        radius_mm = draw(13, 24)
        return radius_mm, _pick(anatomy, draw, lambda d, white: d < -max(14.0, radius_mm * 0.7) and white > 0.5)

    def paint(
        self, image: Tensor, surface_mm: Tensor, lumps: Tensor, at: Location, contrast: Contrast
    ) -> tuple[Tensor, Tensor]:
        """Rim and core over the darkened edema."""
        surface_mm = surface_mm + lumps * self.radius_mm * 0.28
        edema = torch.sigmoid((self.edema_mm - surface_mm) / 2.5) * at.white.clamp(0, 1) * (at.brain_mm < -1)
        flair = contrast.name == "flair"
        image = image * (1 - edema) + (0.78 + 0.05 * at.texture) * edema if flair else image * (1 - 0.28 * edema)
        core = torch.sigmoid(-(surface_mm + self.rim_mm + 1.5 * at.texture) * 1.5)
        share = torch.sigmoid(-surface_mm * 1.5) * (at.brain_mm < 0)
        rim = {"t1c": 0.80, "t1": 0.30, "flair": 0.66}[contrast.name] + 0.10 * at.texture
        core_value = 0.45 if flair else self.core
        value = rim * (1 - core) + (core_value + 0.04 * at.grain + 0.05 * lumps) * core
        return image * (1 - share) + value * share, torch.maximum(share, edema) if flair else share


class Meningioma(Lesion):
    """Round and evenly bright, on the dura, with a tail along it."""

    def site(self, anatomy: Anatomy, draw: Draw) -> tuple[float, Tensor]:
        """Just below the brain's surface, so that it touches the dura."""
        self.brightness = draw(0.66, 0.88)
        radius_mm = draw(11, 21)
        return radius_mm, _pick(anatomy, draw, lambda d, _: -radius_mm * 0.55 < d < -radius_mm * 0.15)

    def paint(
        self, image: Tensor, surface_mm: Tensor, lumps: Tensor, at: Location, contrast: Contrast
    ) -> tuple[Tensor, Tensor]:
        """Body, dural tail, and the dark cleft of fluid that shows it lies outside of the brain."""
        distance_mm = surface_mm + self.radius_mm
        surface_mm = surface_mm + lumps * self.radius_mm * 0.06
        share = torch.sigmoid(-surface_mm * 1.6) * torch.sigmoid((1.8 - at.brain_mm) * 2)
        tail = torch.sigmoid((self.radius_mm * 1.7 - distance_mm) / 2) * torch.exp(-(((at.brain_mm - 1.2) / 1.1) ** 2))
        if contrast.enhances:
            image = torch.maximum(image, tail * self.brightness * 0.85)
        image = image * (1 - 0.35 * torch.exp(-(((surface_mm - 1.5) / 1.2) ** 2)) * (at.brain_mm < 0))
        brightness = {"t1c": self.brightness, "t1": 0.36, "flair": 0.62}[contrast.name]
        value = brightness + 0.04 * at.texture + 0.02 * at.grain + 0.03 * lumps
        return image * (1 - share) + value * share, share


class PituitaryAdenoma(Lesion):
    """In the sella, taller than wide, a little darker inside."""

    def site(self, anatomy: Anatomy, draw: Draw) -> tuple[float, Tensor]:
        """The sella, give or take two millimeters."""
        return draw(8, 13), torch.tensor([c + draw(-2, 2) for c in SELLA_MM])

    def paint(
        self, image: Tensor, surface_mm: Tensor, lumps: Tensor, at: Location, contrast: Contrast
    ) -> tuple[Tensor, Tensor]:
        """An ellipsoid."""
        shape = at.subject_mm.new_tensor([1.0, 0.95, 1.2])
        surface_mm = ((at.subject_mm - self.center_mm) / shape).norm(dim=-1) + lumps * 0.8 - self.radius_mm
        share = torch.sigmoid(-surface_mm * 1.6)
        inside = torch.sigmoid(-(surface_mm + self.radius_mm * 0.6) * 2)
        brightness = {"t1c": 0.72, "t1": 0.34, "flair": 0.6}[contrast.name]
        value = brightness + 0.05 * at.texture + 0.02 * at.grain - 0.12 * inside
        return image * (1 - share) + value * share, share


LESIONS: dict[str, type[Lesion] | None] = {
    "glioma": Glioma,
    "meningioma": Meningioma,
    "notumor": None,
    "pituitary": PituitaryAdenoma,
}


class Head:
    """One subject with what it has: coordinates to intensity and tumor share.

    Args:
        class_name: one of `labels.CLASS_NAMES`.
        seed: of everything that is drawn.
    """

    def __init__(self, class_name: str, seed: int) -> None:
        draw = Draw(seed)
        self.anatomy = Anatomy(draw)
        kind = LESIONS[class_name]
        self.lesion = kind(self.anatomy, draw) if kind else None

    def __call__(self, points_mm: Tensor, contrast: Contrast = T1C) -> tuple[Tensor, Tensor]:
        """Intensity, about 0 to 1, and the share of tumor in [0, 1].

        Args:
            points_mm: right, anterior, superior in the scanner, (..., 3).
            contrast: the sequence.

        Returns:
            Both of shape (...).
        """
        subject_mm = self.anatomy.place(points_mm)
        pushed_mm = self.lesion.push(subject_mm) if self.lesion else subject_mm
        image, location = self.anatomy.render(subject_mm, pushed_mm, contrast)
        share = torch.zeros_like(image)
        if self.lesion:
            image, share = self.lesion(image, location, contrast)
        return image * self.anatomy.coil_gain(points_mm), share


def _pick(anatomy: Anatomy, draw: Draw, fits: Callable[[float, float], bool]) -> Tensor:
    """A random point whose distance to the brain's surface (mm) and share of white matter fit."""
    for _ in range(TRIES):
        point = torch.tensor([draw(-65, 65), draw(-100, 60), draw(-40, 70)])
        white = float(sample(anatomy.atlas.tissue, point[None])[2, 0])
        distance_mm = float(sample(anatomy.atlas.distance_mm, point[None])[0, 0])
        if abs(point[0]) > 8 and fits(distance_mm, white):
            return point
    raise RuntimeError(f"no site found in {TRIES} tries; the atlas is not the one this was written for")
