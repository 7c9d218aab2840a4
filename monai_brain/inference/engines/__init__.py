"""What runs a trained network: torch, ONNX Runtime or OpenVINO; all share one verb."""

from collections.abc import Sequence

from monai_brain.inference.engines.auto import AutoEngine
from monai_brain.inference.engines.base import (
    AveragedEngine,
    Engine,
    EngineDisagrees,
    UnknownEngine,
)
from monai_brain.inference.engines.onnx_engine import OnnxEngine
from monai_brain.inference.engines.openvino_engine import OpenVinoEngine
from monai_brain.inference.engines.torch_engine import TorchEngine
from monai_brain.networks.averaging import AS_IT_IS, check_contrasts

__all__ = ["ENGINES", "AutoEngine", "Engine", "EngineDisagrees", "UnknownEngine", "make_engine"]

ENGINES: dict[str, type[Engine]] = {"torch": TorchEngine, "onnx": OnnxEngine, "openvino": OpenVinoEngine}


AUTO = "auto"


def make_engine(
    kind: str = "torch", precision: str = "fp32", flips: bool = False, contrasts: Sequence[float] = AS_IT_IS
) -> Engine:
    """An engine that is not built yet.

    Args:
        kind: of `ENGINES`; or `auto`: the quickest of those that have the precision, see `AutoEngine`.
        precision: of those that the engine has; with `auto` also `auto`, any.
        flips: the mean of what it says of a slice and of its mirror image.
        contrasts: the mean over a slice with these exponents of its intensities.

    Raises:
        UnknownEngine: there is no such engine, or it has no such precision.
        UnusableContrasts: there is no exponent, or one is not above 0.
    """
    if kind == AUTO:
        return _auto(precision, flips, contrasts)
    if kind not in ENGINES:
        raise UnknownEngine(f"engine {kind!r} is none of {', '.join(ENGINES)}, {AUTO}")
    precisions = ENGINES[kind].precisions
    if precision not in precisions:
        raise UnknownEngine(f"the {kind} engine has no precision {precision!r}; it has {', '.join(precisions)}")
    engine = ENGINES[kind](precision)
    return AveragedEngine(engine, flips, contrasts) if flips or check_contrasts(contrasts) != AS_IT_IS else engine


def _auto(precision: str, flips: bool, contrasts: Sequence[float]) -> Engine:
    every = [(kind, own) for kind, engine in ENGINES.items() for own in engine.precisions]
    fitting = [make_engine(kind, own, flips, contrasts) for kind, own in every if precision in (own, AUTO)]
    if not fitting:
        raise UnknownEngine(
            f"no engine has precision {precision!r}; there are {', '.join(sorted({own for _, own in every}))}"
        )
    return AutoEngine(fitting, precision)
