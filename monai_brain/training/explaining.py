"""Explain a whole data set, and measure how far the explanations can be trusted."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from monai_brain.explain.methods import make_explainer
from monai_brain.explain.trust import Trust, agreement, head_mask, moved, removal_drop, share_inside, to_gray, trust_of
from monai_brain.io.read import read_image, read_mask
from monai_brain.report.slice_figures import ExplainedSlice
from monai_brain.transforms.load import to_8_bits, to_channels
from monai_brain.transforms.spatial import Size, to_size_before


class Explained(NamedTuple):
    """One image's explanation, for the class that the network gave it."""

    predicted: int
    probability: float
    trust: Trust
    removal_drop: float | None
    """By how much the probability falls without the hottest tenth of the pixels; None where the map is empty, so that
    nothing can be removed."""
    random_drop: float | None
    """The same for a region of equal shape elsewhere: the cost of any removal."""


class _Explaining(ABC):
    """A handler that explains the images of an evaluator's batches for their predicted classes."""

    def __init__(self, network: nn.Module, method: str, layer: str | None) -> None:
        self.network = network
        self.method = method
        self.layer = layer

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose batches stay whole (`decollate: false`)."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def _begin(self, engine: Engine) -> None:
        self._dataset = engine.state.dataloader.dataset

    @abstractmethod
    def __call__(self, engine: Engine) -> None:
        """Explain a batch."""

    def _explain(self, engine: Engine) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images (N, C, H, W) of a batch, their probabilities and classes (N,), and maps (N, 1, H, W)."""
        images, logits = engine.state.output["image"], engine.state.output["pred"].float()
        chances, classes = torch.softmax(logits, dim=1).max(dim=1)
        with make_explainer(self.method, self.network, self.layer) as explainer:
            return images, chances, classes, explainer(images, classes)

    def _again(self, index: int, label: int) -> tuple[Tensor, np.ndarray, np.ndarray | None]:
        """An image (C, H, W), its map for a class, and its attention map where the network makes one as well, (H, W).

        Computed again, since only a few are shown.
        """
        device = next(self.network.parameters()).device
        image = torch.as_tensor(self._dataset[index]["image"])
        also_attention = self.method != "attention" and hasattr(self.network, "with_attention")
        maps = []
        for method in (self.method, "attention") if also_attention else (self.method,):
            with make_explainer(method, self.network, self.layer) as explainer:
                found = explainer(image[None].to(device), torch.tensor([label], device=device))
            maps.append(found[0, 0].cpu().numpy())
        return image, maps[0], maps[1] if also_attention else None


class CollectExplanations(_Explaining):
    """A handler that explains every image of an evaluator's batches for its predicted class.

    Args:
        network: with its weights loaded.
        method: see `explain.methods`.
        layer: for Grad-CAM.
        checked: images whose maps are compared with those of a network with shuffled weights.
        seed: of the shuffling, and of where else regions are removed.
    """

    def __init__(
        self, network: nn.Module, method: str = "gradcam", layer: str | None = None, checked: int = 64, seed: int = 0
    ) -> None:
        super().__init__(network, method, layer)
        self.checked = checked
        self.seed = seed
        self.explained: list[Explained] = []
        self._random = torch.Generator()
        self._kept: list[tuple[Tensor, Tensor, int]] = []

    def _begin(self, engine: Engine) -> None:
        super()._begin(engine)
        self.explained, self._kept = [], []
        self._random.manual_seed(self.seed)
        self._every = max(1, len(self._dataset) // max(1, self.checked))

    def __call__(self, engine: Engine) -> None:
        """Explain a batch."""
        images, chances, classes, maps = self._explain(engine)
        with eval_mode(self.network):  # MONAI's evaluator leaves it in training mode between batches
            drop = removal_drop(self.network, images, maps, classes, before=chances)
            random_drop = removal_drop(self.network, images, moved(maps, self._random), classes, before=chances)
        for own in range(len(images)):
            if len(self.explained) % self._every == 0 and len(self._kept) < self.checked:
                self._kept.append((images[own].cpu(), maps[own, 0].cpu(), int(classes[own])))
            trust = trust_of(maps[own, 0].cpu().numpy(), to_gray(images[own].cpu().numpy()))
            drops = (float(drop[own]), float(random_drop[own])) if maps[own].any() else (None, None)
            self.explained.append(Explained(int(classes[own]), float(chances[own]), trust, *drops))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As `report.explanations` takes them."""
        return [
            {
                "predicted": own.predicted,
                "probability": own.probability,
                "inside_head": own.trust.inside_head,
                "at_border": own.trust.at_border,
                "removal_drop": own.removal_drop,
                "random_drop": own.random_drop,
            }
            for own in self.explained
        ]

    def picture(self, index: int) -> ExplainedSlice:
        """The explanation of one image, in the network's coordinates."""
        image, heat, attention = self._again(index, self.explained[index].predicted)
        return ExplainedSlice(to_gray(image.numpy()), heat, attention)

    def agreement_with_shuffled(self) -> list[float | None]:
        """Rank correlation of each checked map with that of a network whose weights are shuffled, layer by layer.

        Near 0: the map shows what was learned. Near 1: it would look the same without any learning. None: one of both
        maps is the same everywhere.
        """
        shuffled = _shuffled(self.network, self.seed)
        device = next(self.network.parameters()).device
        with make_explainer(self.method, shuffled, self.layer) as explainer:
            others = [
                explainer(image[None].to(device), torch.tensor([label], device=device))
                for image, _, label in self._kept
            ]
        return [
            agreement(own.numpy(), other[0, 0].cpu().numpy())
            for (_, own, _), other in zip(self._kept, others, strict=True)
        ]


class CollectLocalization(_Explaining):
    """A handler that measures how much of a classifier's evidence lies inside reference masks of tumors.

    Maps are for the class that the network gave, and are brought back to the size of slice and mask as they were read.

    Args:
        network: with its weights loaded.
        items: the evaluator's slices in their order, with `image` and `label`, paths of slice and mask.
        transforms: the deterministic ones that the slices went through.
        method: see `explain.methods`.
        layer: for Grad-CAM.
    """

    def __init__(
        self,
        network: nn.Module,
        items: Sequence[Mapping[str, Any]],
        transforms: Sequence[Any],
        method: str = "gradcam",
        layer: str | None = None,
    ) -> None:
        super().__init__(network, method, layer)
        self.items = items
        self.transforms = transforms
        self.rows: list[dict[str, Any]] = []
        """As `report.localization` takes them."""

    def _begin(self, engine: Engine) -> None:
        super()._begin(engine)
        self.rows = []

    def __call__(self, engine: Engine) -> None:
        """Explain a batch."""
        _, chances, classes, maps = self._explain(engine)
        heats = maps[:, 0].cpu().numpy()
        for heat, chance, label in zip(heats, chances.tolist(), classes.tolist(), strict=True):
            gray, mask = self._read(len(self.rows))
            trust = trust_of(to_size_before(heat, self.transforms, _size(gray)), gray, mask)
            self.rows.append(
                {
                    "predicted": label,
                    "probability": chance,
                    "inside_head": trust.inside_head,
                    "inside_mask": trust.inside_mask,
                    "peak_in_mask": trust.hits_mask,
                    "mask_of_head": share_inside(head_mask(gray).astype(float), mask),
                }
            )

    def picture(self, index: int) -> ExplainedSlice:
        """The explanation of one slice as it was read, with its mask."""
        _, heat, attention = self._again(index, self.rows[index]["predicted"])
        gray, mask = self._read(index)
        if attention is not None:
            attention = to_size_before(attention, self.transforms, _size(gray))
        return ExplainedSlice(gray, to_size_before(heat, self.transforms, _size(gray)), attention, mask)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Slice, uint8 (H, W), and mask, bool (H, W), as they were read."""
        item = self.items[index]
        gray = to_channels(to_8_bits(read_image(Path(item["image"])).pixels), gray=True)[0]
        return gray, read_mask(Path(item["label"]))


def _size(gray: np.ndarray) -> Size:
    height, width = gray.shape
    return height, width


def _shuffled(network: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(network).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return other
