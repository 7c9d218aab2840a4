"""OpenVINO on the CPU, in three precisions."""

import functools
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monai_brain.inference.engines.base import CALIBRATION_SLICES, Engine
from monai_brain.inference.engines.onnx_engine import exported
from monai_brain.networks.evening import evened
from monai_brain.optional import require

INSTALL = "pip install 'monai-brain[openvino]'"

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What layers compute in that are not quantized; OpenVINO's own choice differs between machines."""

SLICES_AT_ONCE = {"fp32": 8, "bf16": 4, "int8": 1}
"""Of a batch, in one request; requests run side by side, which beats one large batch."""


class OpenVinoEngine(Engine):
    """A network through ONNX in OpenVINO; int8 by NNCF, calibrated on slices of the first folder."""

    name = "openvino"
    precisions = ("fp32", "bf16", "int8")
    packages = ("onnx", "onnxscript", "openvino", "nncf")

    def build(self, network: nn.Module, weights_sha256: str, slices: Tensor) -> None:
        """See `Engine`."""
        core = _core()
        if self.precision == "int8":
            path = self._quantized(core, network, weights_sha256, slices)
        else:
            path = exported(self, network, weights_sha256, slices)
        options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": HINTS[self.precision]}
        compiled = core.compile_model(str(path), "CPU", options)
        count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self.requests = [compiled.create_infer_request() for _ in range(count)]
        self.check(network, slices)

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """See `Engine`."""
        images = np.ascontiguousarray(inputs.float().cpu().numpy())
        step = SLICES_AT_ONCE[self.precision]
        starts = range(0, len(images), step)
        results: list[np.ndarray] = []
        # no callbacks: they want Python's lock from threads of OpenVINO, and its destructors wait for them
        for number, start in enumerate(starts):
            request = self.requests[number % len(self.requests)]
            if number >= len(self.requests):
                results.append(_result(request))
            request.start_async({"image": images[start : start + step]})
        for number in range(len(results), len(starts)):
            results.append(_result(self.requests[number % len(self.requests)]))
        return torch.from_numpy(np.concatenate(results))

    @property
    def wanted_slices(self) -> int:
        """See `Engine`."""
        return CALIBRATION_SLICES

    def _quantized(self, core: Any, network: nn.Module, weights_sha256: str, slices: Tensor) -> Path:
        target = self.cached(network, weights_sha256, slices.shape[1:], "_int8.xml")
        if not target.is_file():
            nncf = _nncf()
            even = evened(network, slices)
            path = exported(self, even, weights_sha256 if even is network else f"{weights_sha256}, evened", slices)
            data = nncf.Dataset([own[None].numpy() for own in slices[:CALIBRATION_SLICES].float()])
            # over all slices: means of slices' own maxima, the default, cut off what only tumors reach
            ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
            model = nncf.quantize(
                core.read_model(str(path)),
                data,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(slices),
                advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges),
            )
            temporary = target.with_name(f"{target.stem}.{os.getpid()}.xml")
            _openvino().save_model(model, str(temporary))
            for suffix in (".bin", ".xml"):  # the description last: it says that both are there
                os.replace(temporary.with_suffix(suffix), target.with_suffix(suffix))  # noqa: PTH105
        return target


def _result(request: Any) -> np.ndarray:
    request.wait()
    return request.get_output_tensor(0).data.copy()


@functools.cache
def _core() -> Any:
    """One for the life of the process, and there before those of NNCF.

    Each one puts a stack of its own under the process's signal handlers and takes back, when it goes, what was there
    when it came; of two that overlap, the first to go leaves handlers on freed memory, and the next signal kills.
    """
    return _openvino().Core()


def _openvino() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # which would report its use
    return require("openvino", feature="the OpenVINO engine", install=INSTALL)


def _nncf() -> Any:
    os.environ.setdefault("NNCF_CI", "1")  # likewise
    nncf = require("nncf", feature="int8", install=INSTALL)
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function would quiet everybody's handlers
    return nncf
