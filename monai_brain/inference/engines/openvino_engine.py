"""OpenVINO on the CPU, in three precisions."""

import copy
import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monai_brain.inference.engines.base import CALIBRATION_SLICES, CHECKED_SLICES, Engine, is_whole, seal
from monai_brain.networks.equalization import equalized
from monai_brain.optional import require

INSTALL = "pip install 'monai-brain[openvino]'"

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What layers compute in that are not quantized; OpenVINO's own choice differs between machines."""

REQUESTS_PER_STREAM = 2
"""So that a stream finds the next slice waiting when it is done with one."""

CONVOLUTION, DEPTHWISE = "Convolution", "GroupConvolution"
"""As OpenVINO names them."""

FIRST_LAYERS = 3
"""Of a network with depthwise convolutions, that stay in fp32 when it is quantized: MobileNetV2's first convolution and
its block that does not widen. Their few channels have ranges too different for one scale."""


class OpenVinoEngine(Engine):
    """A network in OpenVINO; int8 by NNCF, calibrated on slices of the first folder.

    Every request is one slice of a fixed size, for which OpenVINO plans better than for batches of any size; requests
    run side by side.
    """

    name = "openvino"
    precisions = ("fp32", "bf16", "int8")
    packages = ("openvino", "nncf")

    def build(self, network: nn.Module, weights_sha256: str, slices: Tensor) -> None:
        """See `Engine`."""
        core = _core()
        make, suffix = (_quantized, "_int8.xml") if self.precision == "int8" else (_converted, ".xml")
        path = self.cached(network, weights_sha256, slices.shape[1:], suffix)
        files = path, path.with_suffix(".bin")
        if not is_whole(*files):
            _save(make(network, slices), path)
            seal(*files)
        options = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "ENABLE_CPU_PINNING": False,  # workers decode beside it
        }
        compiled = core.compile_model(str(path), "CPU", options)
        count = REQUESTS_PER_STREAM * compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self.requests = [compiled.create_infer_request() for _ in range(count)]
        self.check(network, slices)

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """See `Engine`."""
        images = np.ascontiguousarray(inputs.float().cpu().numpy())
        return torch.from_numpy(np.concatenate(list(self._results(images))))

    @property
    def wanted_slices(self) -> int:
        """See `Engine`."""
        return CALIBRATION_SLICES if self.precision == "int8" else CHECKED_SLICES

    def _results(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """Logits of each slice of (N, C, H, W), (1, ...)."""
        # no callbacks: they want Python's lock from threads of OpenVINO, and its destructors wait for them
        requests, count = self.requests, len(images)
        for number in range(count):
            request = requests[number % len(requests)]
            if number >= len(requests):
                yield _result(request)
            request.start_async(images[number : number + 1], share_inputs=True)
        for number in range(max(0, count - len(requests)), count):
            yield _result(requests[number % len(requests)])


def _converted(network: nn.Module, slices: Tensor) -> Any:
    """As a model of OpenVINO for one slice of the size of these, (N, C, H, W)."""
    shape = (1, *slices.shape[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes are fixed on purpose
        model = _openvino().convert_model(copy.deepcopy(network).cpu(), example_input=torch.zeros(shape))
    model.reshape(shape)
    return model


def _quantized(network: nn.Module, slices: Tensor) -> Any:
    """The same in int8, calibrated on these."""
    nncf = _nncf()
    model = _converted(equalized(network, slices), slices)
    options: dict[str, Any] = {}
    layers = [layer for layer in model.get_ordered_ops() if layer.get_type_name() in (CONVOLUTION, DEPTHWISE)]
    if any(layer.get_type_name() == DEPTHWISE for layer in layers):
        # the fast correction leaves MobileNetV2 with other classes for a tenth of the slices
        first = nncf.IgnoredScope(names=[layer.get_friendly_name() for layer in layers[:FIRST_LAYERS]])
        options = {"fast_bias_correction": False, "ignored_scope": first}
    if len(model.output(0).get_partial_shape()) > 2:
        # over all slices: means of slices' own maxima, the default, cut off what only tumors reach
        ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
        options["advanced_parameters"] = nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges)
    data = nncf.Dataset([own[None].numpy() for own in slices[:CALIBRATION_SLICES].float()])
    preset = nncf.QuantizationPreset.MIXED
    return nncf.quantize(model, data, preset=preset, subset_size=len(slices), **options)


def _save(model: Any, target: Path) -> None:
    temporary = target.with_name(f"{target.stem}.{os.getpid()}.xml")
    _openvino().save_model(model, str(temporary), compress_to_fp16=False)
    for suffix in (".bin", ".xml"):  # the description last: it says that both are there
        os.replace(temporary.with_suffix(suffix), target.with_suffix(suffix))  # noqa: PTH105


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
