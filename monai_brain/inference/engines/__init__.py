"""What runs a trained network: torch, ONNX Runtime or OpenVINO; all share one verb."""

from monai_brain.extensions import Registry
from monai_brain.inference.engines.auto import AutoEngine
from monai_brain.inference.engines.base import Engine, EngineDisagrees, UnknownEngine
from monai_brain.inference.engines.onnx_engine import OnnxEngine
from monai_brain.inference.engines.openvino_engine import OpenVinoEngine
from monai_brain.inference.engines.torch_engine import TorchEngine

__all__ = ["ENGINES", "AutoEngine", "Engine", "EngineDisagrees", "UnknownEngine", "make_engine"]

ENGINES: Registry[type[Engine]] = Registry(
    "engines", Engine, {"torch": TorchEngine, "onnx": OnnxEngine, "openvino": OpenVinoEngine}
)

AUTO = "auto"


def make_engine(kind: str = "torch", precision: str = "fp32") -> Engine:
    """An engine that is not built yet.

    Args:
        kind: of `ENGINES`; or `auto`: the quickest of those that have the precision, see `AutoEngine`.
        precision: of those that the engine has; with `auto` also `auto`, any.

    Raises:
        UnknownEngine: there is no such engine, or it has no such precision.
    """
    if kind == AUTO:
        return _auto(precision)
    if kind not in ENGINES:
        raise UnknownEngine(f"engine {kind!r} is not one of {', '.join(ENGINES)}, {AUTO}")
    precisions = ENGINES[kind].precisions
    if precision not in precisions:
        raise UnknownEngine(f"the {kind} engine has no precision {precision!r}; it has {', '.join(precisions)}")
    return ENGINES[kind](precision)


def _auto(precision: str) -> Engine:
    every = [(kind, own) for kind, engine in ENGINES.items() for own in engine.precisions]
    fitting = [make_engine(kind, own) for kind, own in every if precision in (own, AUTO)]
    if not fitting:
        raise UnknownEngine(
            f"no engine has precision {precision!r}; there are {', '.join(sorted({own for _, own in every}))}"
        )
    return AutoEngine(fitting, precision)
