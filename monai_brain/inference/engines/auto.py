"""The engine that a short trial finds to be the fastest on this machine; torch where there is little to do."""

import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from monai_brain.inference.engines.base import CHECKED_SLICES, Engine, EngineDisagrees, device_of
from monai_brain.optional import MissingDependency

SECONDS_PER_TRIAL = 1.0

TRIAL_SLICES = 8
"""In a batch that is timed."""

FEWEST_SLICES = 500
"""For fewer, torch is taken at once: its trial, and comparing one other engine with it, take as long as 50 slices."""

SECONDS_TO_BUILD = {"torch": 0.0, "openvino": 15.0, "onnx": 40.0}
SECONDS_TO_QUANTIZE = 180.0
"""Measured on two cores with the bundles' weights; of other engines `onnx` is taken."""

TIMES_WORTH_BUILDING = 3
"""An engine is built if the rest of the work takes at least so many times as long with the fastest so far."""


class NoUsableEngine(ValueError):
    """None of the engines that were tried can be used."""


class AutoEngine(Engine):
    """Takes torch where there is little to do; else builds every engine that has a precision and keeps the fastest.

    The choice is made once for a run: one that goes on takes what its manifest names. Another machine may choose
    otherwise, so a run that is divided over machines must name its engine.

    Args:
        candidates: engines of which one is taken.
        precision: that was asked for.

    Attributes:
        trial: slices a second of each candidate, or why it was left out.
        reason: why the engine was taken.
    """

    name = "auto"

    def __init__(self, candidates: Sequence[Engine], precision: str) -> None:
        super().__init__(precision)
        self.candidates = list(candidates)
        self.engine: Engine | None = None
        self.trial: dict[str, float | str] = {}
        self.reason = ""
        self.slices = 0

    def remember(self, options: Mapping[str, Any]) -> None:
        """See `Engine`."""
        own = [engine for engine in self.candidates if engine.label == options.get("chosen_engine")]
        if own:
            self._take(own[0], "as when this run began")

    def expect(self, slices: int) -> None:
        """See `Engine`."""
        self.slices = slices
        ready = [engine for engine in self.candidates if not engine.is_built]
        if self.engine is None and ready and slices < FEWEST_SLICES:
            self._take(ready[0], f"because {slices} slices are fewer than {FEWEST_SLICES}")

    def build(self, network: nn.Module, weights_sha256: str, slices: Tensor) -> None:
        """See `Engine`.

        Raises:
            NoUsableEngine: saying why each was left out.
        """
        if self.engine is not None:
            self.engine.build(network, weights_sha256, slices)
            return
        rates: dict[Engine, float] = {}
        for engine in sorted(self.candidates, key=_seconds_to_build):
            seconds = self.slices / max(rates.values()) if rates else None
            if seconds is not None and seconds < TIMES_WORTH_BUILDING * _seconds_to_build(engine):
                self.trial[engine.label] = f"not built: there is work for {seconds:.0f} s"
            elif (rate := self._tried(engine, network, weights_sha256, slices)) is not None:
                rates[engine] = rate
        if not rates:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.trial.items())
            raise NoUsableEngine(f"no engine can be used: {reasons}")
        found = ", ".join(f"{engine.label} {rate:.1f}" for engine, rate in rates.items())
        self._take(max(rates, key=rates.__getitem__), f"the fastest of those tried ({found} slices/s)")

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """See `Engine`."""
        assert self.engine is not None  # it was built
        return self.engine(inputs, network)

    @property
    def wanted_slices(self) -> int:
        """See `Engine`."""
        if self.engine is not None:
            return self.engine.wanted_slices
        return max(CHECKED_SLICES, *(engine.wanted_slices for engine in self.candidates))

    @property
    def chosen(self) -> dict[str, Any]:
        """See `Engine`."""
        return {"chosen_engine": self.engine.label} if self.engine is not None else {}

    def _take(self, engine: Engine, reason: str) -> None:
        self.engine, self.reason = engine, reason
        self.candidates = [engine]  # the others' memory is given back
        self.log(f"engine: {engine.label}, {reason}")

    def _tried(self, engine: Engine, network: nn.Module, weights_sha256: str, slices: Tensor) -> float | None:
        """Slices a second; None of an engine that cannot be used."""
        self.log(f"engine: {'building and ' if engine.is_built else ''}timing {engine.label}")
        try:
            engine.build(network, weights_sha256, slices)
        except (MissingDependency, EngineDisagrees) as reason:
            self.trial[engine.label] = str(reason)
            return None
        rate = _rate(engine, network, slices)
        self.trial[engine.label] = round(rate, 1)
        return rate


def suggestion(engine: Engine, network: nn.Module, slices: int) -> str | None:
    """What to say of a large job that torch does on the CPU though a faster engine is installed."""
    is_slow = engine.name == "torch" and device_of(network).type == "cpu" and slices >= FEWEST_SLICES
    if not is_slow or not any(find_spec(name) for name in ("openvino", "onnxruntime")):
        return None
    return f"engine: {engine.label}; for {slices} slices --engine auto may find a faster one"


def _seconds_to_build(engine: Engine) -> float:
    if engine.precision == "int8":
        return SECONDS_TO_QUANTIZE
    return SECONDS_TO_BUILD.get(engine.name, SECONDS_TO_BUILD["onnx"])


def _rate(engine: Engine, network: nn.Module, slices: Tensor) -> float:
    """Slices a second, after one batch to warm up."""
    slices = slices[:TRIAL_SLICES].to(device_of(network))
    with torch.no_grad():
        engine(slices, network)
        began, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - began < SECONDS_PER_TRIAL:
            engine(slices, network).cpu()
            count += len(slices)
        return count / (time.perf_counter() - began)
