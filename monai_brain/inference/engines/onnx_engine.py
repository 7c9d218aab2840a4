"""ONNX Runtime on the CPU."""

import copy
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_brain.inference.engines.base import CHECKED_SLICES, Engine, device_of, is_whole, seal
from monai_brain.io.write import atomic, named
from monai_brain.optional import require

LARGEST_BATCH = 1024
INSTALL = "pip install 'monai-brain[onnx]'"


class OnnxEngine(Engine):
    """A network exported to ONNX, in single precision."""

    name = "onnx"
    precisions = ("fp32",)
    packages = ("onnx", "onnxscript", "onnxruntime")

    def build(self, network: nn.Module, weights_sha256: str, slices: Tensor) -> None:
        """See `Engine`."""
        runtime = require("onnxruntime", feature="the ONNX engine", install=INSTALL)
        path = exported(self, network, weights_sha256, slices)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.check(network, slices)

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """See `Engine`."""
        return torch.from_numpy(self.session.run(["pred"], {"image": inputs.float().cpu().numpy()})[0])

    @property
    def wanted_slices(self) -> int:
        """See `Engine`."""
        return CHECKED_SLICES


def exported(engine: OnnxEngine, network: nn.Module, weights_sha256: str, slices: Tensor) -> Path:
    """The network as an ONNX file with a free batch size, in the cache.

    Args:
        engine: whose versions name the file.
        network: in evaluation mode.
        weights_sha256: of its weight file.
        slices: (N, C, H, W); only the shape matters.
    """
    for package in ("onnx", "onnxscript"):
        require(package, feature="exporting a network", install=INSTALL)
    path = engine.cached(network, weights_sha256, slices.shape[1:], ".onnx")
    if not is_whole(path):
        batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
        example = torch.zeros(2, *slices.shape[1:])
        temporary = path.with_suffix(f".{os.getpid()}.partial")
        names: dict[str, Any] = {"input_names": ["image"], "output_names": ["pred"]}
        try:
            with named(path):
                torch.onnx.export(
                    network if device_of(network).type == "cpu" else copy.deepcopy(network).cpu(),
                    (example,),
                    temporary,
                    dynamic_shapes=({0: batch},),
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                    **names,
                )
            with atomic(path, "wb") as file:
                file.write(temporary.read_bytes())
        finally:
            temporary.unlink(missing_ok=True)
        seal(path)
    return path
