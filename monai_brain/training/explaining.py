"""Explain a whole data set, and measure how far the explanations can be trusted."""

import copy
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from monai_brain.explain.methods import make_explainer
from monai_brain.explain.trust import Trust, agreement, as_seen, removal_drop, trust_of


class Explained(NamedTuple):
    """One image's explanation, for the class that the network gave it."""

    predicted: int
    probability: float
    trust: Trust
    removal_drop: float
    """By how much the probability falls without the hottest tenth of the pixels."""
    random_drop: float
    """Likewise without a tenth at random: what any removal costs."""


class CollectExplanations:
    """A handler that explains every image of an evaluator's batches for its predicted class.

    Args:
        network: with its weights loaded.
        method: see `explain.methods`.
        layer: that Grad-CAM looks at.
        checked: images whose maps are compared with those of a network with shuffled weights.
        seed: of the shuffling.
    """

    def __init__(
        self, network: nn.Module, method: str = "gradcam", layer: str | None = None, checked: int = 64, seed: int = 0
    ) -> None:
        self.network = network
        self.method = method
        self.layer = layer
        self.checked = checked
        self.seed = seed
        self.explained: list[Explained] = []
        self._kept: list[tuple[Tensor, Tensor, int]] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose batches stay whole (`decollate: false`)."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def _begin(self, engine: Engine) -> None:
        self.explained, self._kept = [], []
        self._every = max(1, len(engine.state.dataloader.dataset) // max(1, self.checked))

    def __call__(self, engine: Engine) -> None:
        """Explain a batch."""
        images, logits = engine.state.output["image"], engine.state.output["pred"].float()
        chances, classes = torch.softmax(logits, dim=1).max(dim=1)
        with make_explainer(self.method, self.network, self.layer) as explainer:
            maps = explainer(images, classes)
        anywhere = torch.rand(maps.shape, generator=torch.Generator().manual_seed(self.seed)).to(maps.device)
        with eval_mode(self.network):  # MONAI's evaluator leaves it in training mode between batches
            drop = removal_drop(self.network, images, maps, classes)
            random_drop = removal_drop(self.network, images, anywhere, classes)
        for own in range(len(images)):
            if len(self.explained) % self._every == 0 and len(self._kept) < self.checked:
                self._kept.append((images[own].cpu(), maps[own, 0].cpu(), int(classes[own])))
            trust = trust_of(maps[own, 0].cpu().numpy(), as_seen(images[own].cpu().numpy()))
            self.explained.append(
                Explained(int(classes[own]), float(chances[own]), trust, float(drop[own]), float(random_drop[own]))
            )

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

    def agreement_with_shuffled(self) -> list[float]:
        """Rank correlation of each checked map with that of a network whose weights are shuffled, layer by layer.

        Near 0: the map shows what was learned. Near 1: it would look the same without any learning.
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


def _shuffled(network: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(network).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return other
