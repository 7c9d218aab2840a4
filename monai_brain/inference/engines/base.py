"""What all engines have in common: built once from a torch network, checked against it, then called with batches."""

import errno
import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from monai_brain.io.write import sha256_of, write_json
from monai_brain.workflow import NO_SPACE

SEAL = ".sha256"
"""Behind the name of a built form's first file: the file with its checksums."""

CHECKED_SLICES = 32
"""That a built engine and torch are compared on."""

CALIBRATION_SLICES = 64
"""That an int8 form is calibrated on."""

LARGEST_DIFFERENCE = {"fp32": 0.001, "bf16": 0.3, "int8": 0.3}
"""Of the outputs, relative to their own size (root mean squares). Small logits, as of MobileNetV2, lose much of theirs
in bf16, in torch too, while classes stay. Any other precision is held to what int8 is."""

LEAST_AGREEMENT = {"fp32": 0.999, "bf16": 0.95, "int8": 0.9}
"""Share of decisions (classes of slices, or pixels of tumor) that must be torch's."""


class UnknownEngine(ValueError):
    """An engine or a precision that is not offered."""


class EngineDisagrees(ValueError):
    """A built engine computes something else than the network that it was made from."""


class Engine(Inferer):
    """Runs a network; a MONAI inferer that may leave the torch network aside.

    Args:
        precision: of those in `precisions`.

    Attributes:
        precisions: that it offers, the default first.
        packages: that it needs, by the names they are installed by; their versions decide whether a built form can
            be used again.
        log: is told of what takes time, and of what was chosen.
    """

    name: str
    precisions: Sequence[str] = ("fp32",)
    packages: Sequence[str] = ()
    log: Callable[[str], None] = staticmethod(lambda line: None)

    def __init__(self, precision: str = "fp32") -> None:
        self.precision = precision

    def build(self, network: nn.Module, weights_sha256: str, slices: Tensor) -> None:
        """Get ready to run a network, or take what was made for it before.

        Args:
            network: with its weights loaded, in evaluation mode.
            weights_sha256: of its weight file.
            slices: some of the network's inputs, (N, C, H, W), to calibrate with and to compare on.

        Raises:
            EngineDisagrees: what was built computes something else than the network.
            MissingDependency: the engine's package is not installed.
        """

    @abstractmethod
    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Logits of a batch, float32.

        Args:
            inputs: (N, C, H, W).
            network: the torch network.
            args: not used; MONAI's interface has them.
            kwargs: likewise.
        """

    def remember(self, options: Mapping[str, Any]) -> None:
        """Take the choice that was made when a run began, from its recorded options."""

    def expect(self, slices: int, *, divided: bool) -> None:
        """Prepare for a new run.

        Args:
            slices: about how many there are.
            divided: the run is a part of one, and the other parts must give the same digits.
        """

    @property
    def chosen(self) -> dict[str, Any]:
        """What was chosen by a trial, as options to record; empty where nothing was."""
        return {}

    @property
    def label(self) -> str:
        """Name and precision."""
        return f"{self.name} {self.precision}"

    @property
    def wanted_slices(self) -> int:
        """How many slices `build` is to be given."""
        return 0

    def cached(self, network: nn.Module, weights_sha256: str, shape: Sequence[int], suffix: str) -> Path:
        """Where a built form is kept: named by weights, network, input and versions."""
        versions = [f"{name}=={metadata.version(name)}" for name in ("torch", "monai-brain", *self.packages)]
        words = [weights_sha256, str(network), str(tuple(shape)), *versions, suffix]
        digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]
        return cache_folder() / f"{digest}{suffix}"

    def check(self, network: nn.Module, slices: Tensor) -> None:
        """Compare with torch in single precision.

        Raises:
            EngineDisagrees: by how much.
        """
        slices = slices[:CHECKED_SLICES].to(device_of(network))
        with torch.no_grad():
            expected = network(slices).float().cpu()
        found = self(slices, network).cpu()
        difference = float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt().clamp(min=1e-9))
        agreement = float((decisions(found) == decisions(expected)).float().mean())
        held_to = self.precision if self.precision in LARGEST_DIFFERENCE else "int8"
        if difference > LARGEST_DIFFERENCE[held_to] or agreement < LEAST_AGREEMENT[held_to]:
            raise EngineDisagrees(
                f"the {self.name} engine in {self.precision} differs from torch by {difference:.2%} and agrees in "
                f"{agreement:.1%} of the decisions on {len(expected)} slices; use another precision, or --engine torch"
            )


class InvalidCache(ValueError):
    """Engines cannot be kept where they should, with the way out."""


def seal(*files: Path) -> None:
    """Note the checksums of a built form's files beside the first of them; last, since it says that all are there."""
    write_json(files[0].with_name(f"{files[0].name}{SEAL}"), {path.name: sha256_of(path) for path in files})


def is_whole(*files: Path) -> bool:
    """Whether a built form is there as it was sealed: a file that is missing or damaged is made anew."""
    try:
        noted = json.loads(files[0].with_name(f"{files[0].name}{SEAL}").read_text(encoding="utf-8"))
        return bool(noted == {path.name: sha256_of(path) for path in files})
    except (OSError, ValueError):
        return False


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights lie; the CPU for one without any."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def decisions(logits: Tensor) -> Tensor:
    """Classes of slices from (N, K), or pixels of tumor from (N, 1, H, W)."""
    return logits.argmax(dim=1) if logits.ndim == 2 else logits > 0


def cache_folder() -> Path:
    """Where built engines are kept: `MONAI_BRAIN_CACHE`, else below the user's own cache.

    Raises:
        InvalidCache: it cannot be written to.
    """
    place = os.environ.get("MONAI_BRAIN_CACHE") or "~/.cache/monai_brain"
    try:
        folder = Path(place).expanduser() / "engines"
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        raise InvalidCache(
            f"{place}: engines cannot be stored there ({error}); name a folder with MONAI_BRAIN_CACHE, or use "
            "--engine torch"
        ) from None
    return folder
