"""Collect what a network says about a set of images."""

import numpy as np
import torch
from ignite.engine import Engine, Events


class CollectMasks:
    """A handler that keeps the probability of every pixel, in the order of the slices."""

    def __init__(self) -> None:
        self._batches: list[torch.Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose batches stay whole (`decollate: false`)."""
        engine.add_event_handler(Events.STARTED, lambda _: self._batches.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Keep a batch."""
        self._batches.append(torch.sigmoid(engine.state.output["pred"].float()).cpu()[:, 0])

    @property
    def probabilities(self) -> np.ndarray:
        """(N, H, W), float32, of the network's size."""
        return torch.cat(self._batches).numpy()


class CollectProbabilities:
    """A handler that keeps the softmax of every batch's `pred`, in the order of the images, and how long all took.

    Attributes:
        seconds: from the first file to the last answer; 0 until then.
    """

    def __init__(self) -> None:
        self._batches: list[torch.Tensor] = []
        self.seconds = 0.0

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator whose batches stay whole (`decollate: false`)."""
        engine.add_event_handler(Events.STARTED, lambda _: self._batches.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._note_seconds)

    def __call__(self, engine: Engine) -> None:
        """Keep a batch."""
        self._batches.append(torch.softmax(engine.state.output["pred"].float(), dim=1).cpu())

    def _note_seconds(self, engine: Engine) -> None:
        self.seconds = float(engine.state.times[Events.EPOCH_COMPLETED.name] or 0.0)

    @property
    def probabilities(self) -> np.ndarray:
        """(N, K), float32."""
        return torch.cat(self._batches).numpy()
