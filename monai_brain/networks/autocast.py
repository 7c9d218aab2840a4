"""Run a network in lower precision, on any device."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import SimpleInferer

from monai_brain.networks.averaging import AS_IT_IS, check_contrasts, mean_of_looks

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


class UnknownPrecision(ValueError):
    """A precision that is not offered."""


def quickest_precision(device: str | torch.device) -> str:
    """`bf16` where the device computes in it natively, else `fp32`; emulated, bf16 is several times slower."""
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if kind == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"


class AutocastInferer(SimpleInferer):
    """Feed the network in `precision`; what comes out is float32, so losses and metrics are too.

    MONAI's own `amp` reaches CUDA only. bf16 needs no loss scaling: it has float32's range.

    Args:
        precision: `fp32` or `bf16`.
    """

    def __init__(self, precision: str = "fp32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise UnknownPrecision(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
        self.dtype = PRECISIONS[precision]

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Logits, float32."""
        if inputs.ndim == 4:  # convolutions are quicker with channels last, on CPUs and GPUs; values do not change
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self.dtype is None:
            return network(inputs.float(), *args, **kwargs)  # cached features come as bf16
        with torch.autocast(inputs.device.type, dtype=self.dtype):
            return network(inputs, *args, **kwargs).float()


class AveragedInferer(AutocastInferer):
    """The mean of what a segmenter says of several looks at a slice; see `networks.averaging`.

    Args:
        precision: as `AutocastInferer`.
        flips: the mirror image, left to right, is one.
        contrasts: exponents of the intensities; [1.0]: the slice as it is.

    Raises:
        UnusableContrasts: there is no exponent, or one is not above 0.
    """

    def __init__(self, precision: str = "fp32", flips: bool = True, contrasts: Sequence[float] = AS_IT_IS) -> None:
        super().__init__(precision)
        self.flips = flips
        self.contrasts = check_contrasts(contrasts)

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Logits (N, K, H, W), float32."""
        look = super().__call__
        return mean_of_looks(lambda images: look(images, network, *args, **kwargs), inputs, self.flips, self.contrasts)
