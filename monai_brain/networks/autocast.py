"""Run a network in lower precision, on any device."""

from typing import Any

import torch
from monai.inferers import SimpleInferer

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


class UnknownPrecision(ValueError):
    """An unsupported precision."""


def fastest_precision(device: str | torch.device) -> str:
    """`bf16` if the device supports it natively, else `fp32`; emulated bf16 is several times slower."""
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if kind == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"


class AutocastInferer(SimpleInferer):
    """Run the network in `precision`; its output is float32, and so are losses and metrics.

    MONAI's own `amp` reaches CUDA only. bf16 needs no loss scaling: it has float32's range.

    Args:
        precision: `fp32` or `bf16`.
    """

    def __init__(self, precision: str = "fp32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise UnknownPrecision(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        self.dtype = PRECISIONS[precision]

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Logits, float32."""
        if inputs.ndim == 4:  # convolutions are faster with channels last, on CPUs and GPUs; the values are the same
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self.dtype is None:
            return network(inputs.float(), *args, **kwargs)  # cached features come as bf16
        with torch.autocast(inputs.device.type, dtype=self.dtype):
            return network(inputs, *args, **kwargs).float()
