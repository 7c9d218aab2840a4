"""A head as a function of coordinates: T1, T1 with contrast or FLAIR at any point, so any slice is rendered alone.

The tissue maps are the MNI152 averages that ship inside nilearn (V. Fonov et al., NeuroImage 54, 2011). They
are deformed for each subject; skull, scalp, vessels and sinuses are layered around them by distance.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from monai_brain.optional import require

BOX_LOW_MM, BOX_HIGH_MM = (-98.0, -134.0, -112.0), (98.0, 98.0, 116.0)
"""The atlas grid: right, anterior, superior (RAS)."""

ROOM_BELOW_MM = 40
"""The template ends at the brain stem; face and neck need room below."""

CENTER_MM = (0.0, -18.0, 0.0)
"""Middle of the head, about which subjects are turned."""


class Atlas(NamedTuple):
    """Maps on the grid of the box."""

    tissue: Tensor
    """(1, 3, X, Y, Z) at 1 mm: T1 template, gray matter, white matter, each in [0, 1]."""
    distance_mm: Tensor
    """(1, 2, X, Y, Z) at 2 mm: signed distance to the brain's surface and to the skin, negative inside."""


@cache
def load_atlas() -> Atlas:
    """The maps, from nilearn's own files; nothing is downloaded."""
    datasets = require("nilearn.datasets", feature="the demo data", install="pip install 'monai-brain[demo]'")
    loaders = (
        datasets.load_mni152_template,
        datasets.load_mni152_gm_template,
        datasets.load_mni152_wm_template,
    )
    maps = [np.asarray(load(resolution=1).dataobj, np.float32) for load in loaders]
    t1, gray, white = (np.pad(m, [(0, 0), (0, 0), (ROOM_BELOW_MM, 0)]) for m in maps)
    brain = np.ascontiguousarray((t1 > 0.05)[::2, ::2, ::2])
    closed = ndimage.binary_closing(np.pad(brain, 10), iterations=7)[10:-10, 10:-10, 10:-10]
    brain = ndimage.binary_fill_holes(closed)
    to_brain = (ndimage.distance_transform_edt(~brain) - ndimage.distance_transform_edt(brain)) * 2
    distances = np.stack([ndimage.gaussian_filter(to_brain, 1), _distance_to_skin(to_brain)])
    return Atlas(
        torch.tensor(np.stack([t1, gray, white])[None], dtype=torch.float32),
        torch.tensor(distances[None], dtype=torch.float32),
    )


def sample(grid: Tensor, points_mm: Tensor) -> Tensor:
    """Values of a grid over the box at points.

    Args:
        grid: (1, C, X, Y, Z); its corners are the corners of the box.
        points_mm: (..., 3).

    Returns:
        (C, ...), linear between grid points.
    """
    low, high = points_mm.new_tensor(BOX_LOW_MM), points_mm.new_tensor(BOX_HIGH_MM)
    where = ((points_mm - low) / (high - low) * 2 - 1).flip(-1).reshape(1, -1, 1, 1, 3)
    values = F.grid_sample(grid, where, align_corners=True, padding_mode="border")
    return values.reshape(grid.shape[1], *points_mm.shape[:-1])


def smooth_noise(generator: torch.Generator, grain_mm: float, channels: int = 1) -> Tensor:
    """A random field over the box, (1, channels, X, Y, Z), of unit variance and about this grain."""
    sizes = [int((high - low) / grain_mm) + 4 for low, high in zip(BOX_LOW_MM, BOX_HIGH_MM, strict=True)]
    return torch.randn(1, channels, *sizes, generator=generator)


class Draw:
    """Numbers of one subject, drawn in a fixed order from its seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return float(low + (high - low) * torch.rand(1, generator=self.generator))

    def noise(self, grain_mm: float, channels: int = 1) -> Tensor:
        """See `smooth_noise`."""
        return smooth_noise(self.generator, grain_mm, channels)


class Contrast(NamedTuple):
    """What a sequence makes of tissues, intensities about 0 to 1."""

    name: str
    brain: tuple[float, float, float] | None = None
    """White matter, gray matter, fluid; None: the subject's own values on T1."""
    nuclei: float = 0.9
    """How much the deep gray nuclei stand out."""
    enhances: bool = False
    """Whether contrast agent lights up dura, vessels, sinuses and the pituitary."""
    fat: float = 1.0
    """Times the subject's value on T1."""


T1C, T1 = Contrast("t1c", enhances=True), Contrast("t1")
FLAIR = Contrast("flair", brain=(0.36, 0.47, 0.05), nuclei=0.0, fat=0.7)
CONTRASTS = {contrast.name: contrast for contrast in (T1, FLAIR, T1C)}


class Location(NamedTuple):
    """Where points of the scanner lie in the subject, and what is known there; all of the points' shape."""

    subject_mm: Tensor
    """(..., 3), after the subject's size, turn and large deformation; lesions are placed in it."""
    brain_mm: Tensor
    """Signed distance to the smooth brain surface, negative inside."""
    white: Tensor
    """White matter, 0 to 1."""
    texture: Tensor
    grain: Tensor
    """Noise fields that belong to the tissue, of 5 and 2 mm."""


class Anatomy:
    """One subject without a lesion.

    Args:
        draw: the subject's numbers.
    """

    def __init__(self, draw: Draw) -> None:
        self.atlas = load_atlas()
        self.to_subject = _rotation(draw(-0.12, 0.12), draw(-0.06, 0.06), draw(-0.08, 0.08)) @ torch.diag(
            torch.tensor([1 / draw(0.93, 1.07) for _ in range(3)])
        )
        coarse = draw.noise(45, 3).numpy()[0] * 2.5
        # cubic: linear interpolation of so coarse a grid would give the skull corners
        self.large_deformation_mm = torch.tensor(np.stack([ndimage.zoom(c, 4, order=3) for c in coarse])[None])
        self.gyral_deformation_mm = draw.noise(11, 3) * 1.3
        self.texture, self.grain, self.bias = draw.noise(5), draw.noise(2.2), draw.noise(90)
        self.vessels, self.soft = draw.noise(12, 2), draw.noise(16)
        self.white = draw(0.36, 0.56)
        self.gray, self.fluid = self.white - draw(0.035, 0.10), draw(0.08, 0.14)
        self.skull_mm, self.fat = draw(5, 8), draw(0.55, 0.85)
        self.dura = draw(0.35, 0.7)

    def place(self, points_mm: Tensor) -> Tensor:
        """Scanner points (..., 3) in the subject's own space, before tissue is pushed aside by a lesion."""
        center = points_mm.new_tensor(CENTER_MM)
        turned = (points_mm - center) @ self.to_subject.T + center
        return turned + sample(self.large_deformation_mm, turned).movedim(0, -1)

    def scanner_position(self, subject_mm: Tensor) -> Tensor:
        """About where a point of the subject lies in the scanner, (3,); the large deformation is left out."""
        center = subject_mm.new_tensor(CENTER_MM)
        return torch.linalg.solve(self.to_subject, subject_mm - center) + center

    def render(self, subject_mm: Tensor, pushed_mm: Tensor, contrast: Contrast = T1C) -> tuple[Tensor, Location]:
        """Intensity, about 0 to 1, at points.

        Args:
            subject_mm: (..., 3), from `place`.
            pushed_mm: (..., 3), the same points where their tissue was before a lesion displaced it.
            contrast: what tissues look like.
        """
        folded = pushed_mm + sample(self.gyral_deformation_mm, pushed_mm).movedim(0, -1)
        t1, gray, white = sample(self.atlas.tissue, folded)
        gyral_mm = sample(self.atlas.distance_mm, folded)[0]
        brain_mm, skin_mm = sample(self.atlas.distance_mm, subject_mm)  # skull and scalp know no gyri
        location = Location(
            subject_mm,
            brain_mm,
            white,
            sample(self.texture, subject_mm)[0],
            sample(self.grain, subject_mm)[0],
        )
        inner = torch.sigmoid((0.8 - gyral_mm) * 2.5)
        around = self._around(folded, skin_mm, location, contrast)
        image = self._brain(t1, gray, white, location, contrast) * inner + around * (1 - inner)
        if contrast.enhances:
            image = self._vessels(image, folded, location)
        return torch.where(skin_mm > 0, torch.zeros_like(image), image), location

    def coil_gain(self, points_mm: Tensor) -> Tensor:
        """The receive coil's uneven sensitivity at scanner points."""
        return torch.exp(0.12 * sample(self.bias, points_mm)[0])

    def _brain(self, t1: Tensor, gray: Tensor, white: Tensor, at: Location, contrast: Contrast) -> Tensor:
        own_white, own_gray, fluid = contrast.brain or (self.white, self.gray, self.fluid)
        # averages are blurred: sharpened again, with a boundary that differs between subjects
        share = torch.sigmoid(14 * (white - gray + 0.10 * at.texture))
        inside = torch.sigmoid(16 * (gray + white - 0.52 + 0.06 * at.texture))
        tissue = inside * (share * own_white + (1 - share) * own_gray) + (1 - inside) * fluid
        nuclei = 1 + contrast.nuclei * (t1 - (white * 0.78 + gray * 0.58)) * inside
        return tissue * nuclei + 0.008 * at.grain

    def _around(self, folded_mm: Tensor, skin_mm: Tensor, at: Location, contrast: Contrast) -> Tensor:
        """Dura, skull, scalp, face and neck, from the inside out."""
        soft = sample(self.soft, at.subject_mm)[0]
        out = 0.05 + _shell(at.brain_mm, 1.2, 2.4, 0.7) * (self.dura if contrast.enhances else 0.1)
        marrow = _shell(at.brain_mm, 2.5 + self.skull_mm * 0.3, 2.5 + self.skull_mm * 0.75, 1.2)
        out = out + marrow * 0.22 * (1 + 0.5 * soft)
        outside = at.brain_mm > 2.5 + self.skull_mm
        scalp = self.fat * contrast.fat * (0.9 + 0.12 * soft + 0.03 * at.texture) * torch.sigmoid(-(skin_mm + 2) * 2)
        skin = 0.3 * torch.sigmoid(-skin_mm * 2) * torch.sigmoid((skin_mm + 2) * 2)
        out = torch.where(outside, scalp + skin, out)
        flesh = 0.27 + 0.06 * torch.tanh(2 * soft) + 0.015 * at.texture
        out = torch.where(outside & (skin_mm < -8), flesh, out)
        return self._skull_base(out, folded_mm, soft, at, contrast.enhances)

    def _skull_base(self, out: Tensor, folded_mm: Tensor, soft: Tensor, at: Location, enhances: bool) -> Tensor:
        x, y, z = folded_mm.unbind(-1)
        away = at.brain_mm
        for side in (-1, 1):
            eye_mm = ((x - side * 32) ** 2 + (y - 62) ** 2 + (z + 34) ** 2).sqrt()
            out = torch.where((eye_mm < 17) & (away > 3), 0.5 + 0.06 * soft, out)
            out = torch.where((eye_mm < 11.5) & (away > 2), torch.full_like(out, 0.14), out)
            carotid = (torch.hypot(x - side * 13, y - 4) < 2.8) & (z < -22) & (away > 0.5)
            out = torch.where(carotid, torch.full_like(out, 0.06), out)  # flow void
            cavernous_sinus = (torch.hypot(x - side * 10, z + 31) < 4) & (y.abs() < 9) & (away > 0.5)
            out = torch.where(cavernous_sinus, (0.6 if enhances else 0.25) + 0.06 * at.texture, out)
        gland = (_ellipsoid(x / 5.5, (y - 3) / 5, (z + 34) / 4) < 1) & (away > 0)
        out = torch.where(gland, (0.68 if enhances else 0.4) + 0.04 * at.texture, out)
        sinuses = _ellipsoid(x / 13, (y - 32) / 30, (z + 45) / 17) + 0.12 * at.texture < 1
        throat = torch.hypot(x / 12, (y - 8 + (z + 70) * 0.1) / 9) + (z > -52) < 1
        out = torch.where((sinuses | throat) & (away > 3), 0.02 + 0.02 * at.texture.abs(), out)
        clivus = (_ellipsoid(x / 11, (y + 14 + (z + 40) * 0.35) / 7, (z + 48) / 20) < 1) & (away > 1.5)
        return torch.where(clivus, 0.36 + 0.05 * soft, out)  # dark enough not to be taken for a tumor

    def _vessels(self, image: Tensor, folded_mm: Tensor, at: Location) -> Tensor:
        x, y, z = folded_mm.unbind(-1)
        sagittal_sinus = (x.abs() < 3) & (at.brain_mm.abs() < 2.5) & (z > 0) & (y < 60)
        image = torch.where(sagittal_sinus, torch.full_like(image, 0.8), image)
        falx = torch.sigmoid((0.8 - x.abs()) * 4) * (z > 15 + (y + 20).abs() * 0.1) * (at.brain_mm < -1)
        # thin tubes, where two smooth fields are both near zero
        first, second = sample(self.vessels, at.subject_mm)
        at_surface = torch.exp(-((first / 0.10) ** 2 + (second / 0.10) ** 2))
        at_surface = at_surface * torch.sigmoid((at.brain_mm + 9) / 2) * (at.brain_mm < 1.5)
        deep = torch.exp(-((first / 0.05) ** 2 + (second / 0.05) ** 2)) * (at.brain_mm < -9) * 0.6
        return image + falx * 0.14 + (at_surface + deep) * 0.4


def _distance_to_skin(to_brain_mm: np.ndarray) -> np.ndarray:
    axes = [np.arange(low, high + 1, 2.0) for low, high in zip(BOX_LOW_MM, BOX_HIGH_MM, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    face = np.maximum(np.hypot(x / 62, (y - 25) / 62) - 1, (np.abs(z + 70) - 60) / 60) * 60
    neck = np.hypot(x / 56, (y + 45) / 62) * 58 - 58 + np.maximum(z + 40, 0)
    return ndimage.gaussian_filter(np.minimum(np.minimum(to_brain_mm - 15, face), neck), 2.5)


def _rotation(about_x: float, about_y: float, about_z: float) -> Tensor:
    def turn(angle: float, first: int, second: int) -> Tensor:
        matrix = torch.eye(3)
        cosine, sine = float(np.cos(angle)), float(np.sin(angle))
        matrix[first, first], matrix[first, second] = cosine, -sine
        matrix[second, first], matrix[second, second] = sine, cosine
        return matrix

    return turn(about_x, 1, 2) @ turn(about_y, 2, 0) @ turn(about_z, 0, 1)


def _shell(distance_mm: Tensor, low_mm: float, high_mm: float, blur_mm: float) -> Tensor:
    return torch.sigmoid((distance_mm - low_mm) / blur_mm * 2) * torch.sigmoid((high_mm - distance_mm) / blur_mm * 2)


def _ellipsoid(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.hypot(torch.hypot(x, y), z)
