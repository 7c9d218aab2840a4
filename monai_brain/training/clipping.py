"""Keep single steps of a training from going too far."""

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import nn


class ClipGradients:
    """A handler that shrinks the gradients of a step to a norm, where they are larger.

    MONAI's trainer has no such option.

    Args:
        network: that is trained.
        largest_norm: Euclidean, of all gradients together.
    """

    def __init__(self, network: nn.Module, largest_norm: float) -> None:
        self.network = network
        self.largest_norm = largest_norm

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer, between its backward pass and its step."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip."""
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.largest_norm)
