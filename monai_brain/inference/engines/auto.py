"""The engine that is the fastest on this machine in a short trial; torch where there is little to do."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_brain.inference.engines.base import CHECKED_SLICES, Engine, EngineDisagrees, device_of
from monai_brain.optional import MissingDependency

SECONDS_PER_TRIAL = 1.0

FEWEST_SLICES = 2000
"""With fewer slices, torch is used without a trial: on two cores, building the other engines would take longer than
they save."""

SECONDS_TO_BUILD = {"torch": 0.0, "openvino": 15.0, "onnx": 40.0}
SECONDS_TO_QUANTIZE = 180.0
"""Rough, for two cores and the bundles' weights; other engines are assumed to take as long as `onnx`."""

TIMES_WORTH_BUILDING = 3
"""An engine is built only if the whole folder would take at least this many times as long with the fastest so far."""


class NoUsableEngine(ValueError):
    """None of the engines that were tried can be used."""


class AutoEngine(Engine):
    """Builds engines that have a precision, times them on slices of the folder, and keeps the fastest.

    Those that build quickly come first; one that takes long to build is left out where there is little left to gain,
    as on a GPU. For fewer than `FEWEST_SLICES` slices, and for a part of a divided run, it uses torch.

    The choice is made once for a run: a resumed run takes what its manifest names.

    Args:
        candidates: engines of which one is taken.
        precision: that was asked for.

    Attributes:
        trial: slices a second of each candidate, or why it was left out.
    """

    name = "auto"

    def __init__(self, candidates: Sequence[Engine], precision: str) -> None:
        super().__init__(precision)
        self.candidates = list(candidates)
        self.engine: Engine | None = None
        self.trial: dict[str, float | str] = {}
        self.slices = math.inf

    def remember(self, options: Mapping[str, Any]) -> None:
        """See `Engine`."""
        own = [engine for engine in self.candidates if engine.label == options.get("chosen_engine")]
        self.candidates = own or self.candidates

    def expect(self, slices: int, *, divided: bool) -> None:
        """See `Engine`."""
        self.slices = slices
        torch_engine = next((engine for engine in self.candidates if engine.name == "torch"), None)
        if torch_engine is None or (slices >= FEWEST_SLICES and not divided):
            return
        self.engine, self.candidates = torch_engine, [torch_engine]
        few = f"{slices} slices are fewer than {FEWEST_SLICES}"
        reason = "the parts of a run need the same one" if divided else few
        self.log(f"Engine: {torch_engine.label}, because {reason}; --engine selects another.")

    def build(self, network: nn.Module, weights_sha256: str, slices: Tensor) -> None:
        """See `Engine`.

        Raises:
            NoUsableEngine: saying why each was left out.
        """
        rates: dict[Engine, float] = {}
        for engine in sorted(self.candidates, key=_seconds_to_build):
            seconds = self.slices / max(rates.values()) if rates else math.inf
            if seconds < TIMES_WORTH_BUILDING * _seconds_to_build(engine):
                self.trial[engine.label] = f"not built: the whole folder takes {seconds:.0f} s without it"
            elif (rate := self._tried(engine, network, weights_sha256, slices)) is not None:
                rates[engine] = rate
        if not rates:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.trial.items())
            raise NoUsableEngine(f"no engine can be used: {reasons}")
        self.engine = max(rates, key=rates.__getitem__)
        self.candidates = [self.engine]  # the others' memory is given back
        found = ", ".join(f"{engine.label} {rate:.1f}" for engine, rate in rates.items())
        self.log(f"Engine: {self.engine.label}" + (f" (slices a second: {found})." if len(rates) > 1 else "."))

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """See `Engine`."""
        assert self.engine is not None  # it was built
        return self.engine(inputs, network)

    @property
    def wanted_slices(self) -> int:
        """See `Engine`."""
        return 0 if self.engine else max(CHECKED_SLICES, *(engine.wanted_slices for engine in self.candidates))

    @property
    def chosen(self) -> dict[str, Any]:
        """See `Engine`."""
        return {"chosen_engine": self.engine.label} if self.engine is not None else {}

    def _tried(self, engine: Engine, network: nn.Module, weights_sha256: str, slices: Tensor) -> float | None:
        """Slices a second; None of an engine that cannot be used."""
        self.log(f"Engine: trying {engine.label} ...")
        try:
            engine.build(network, weights_sha256, slices)
        except (MissingDependency, EngineDisagrees) as reason:
            self.trial[engine.label] = str(reason)
            return None
        if len(self.candidates) == 1:
            return math.inf
        rate = _rate(engine, network, slices)
        self.trial[engine.label] = round(rate, 1)
        return rate


def _seconds_to_build(engine: Engine) -> float:
    if engine.precision == "int8":
        return SECONDS_TO_QUANTIZE
    return SECONDS_TO_BUILD.get(engine.name, SECONDS_TO_BUILD["onnx"])


def _rate(engine: Engine, network: nn.Module, slices: Tensor) -> float:
    """Slices a second, after one batch to warm up."""
    slices = slices[:CHECKED_SLICES].to(device_of(network))
    with torch.no_grad():
        engine(slices, network)
        began, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - began < SECONDS_PER_TRIAL:
            engine(slices, network).cpu()
            count += len(slices)
        return count / (time.perf_counter() - began)
