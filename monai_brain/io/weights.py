"""Load weights safely: safetensors, or PyTorch files without pickled code."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from monai_brain.io.write import atomic


class UnusableWeights(ValueError):
    """A weight file is missing, damaged, or does not belong to the network."""


def find_weights(place: Path) -> Path:
    """The weight file that a path means: the file itself, or the best model of a run or bundle folder.

    Raises:
        UnusableWeights: nothing is there, with the way to get some.
    """
    if place.is_file():
        return place
    for candidate in (
        place / "model.safetensors",
        place / "models" / "model.safetensors",
        place / "models" / "model.pt",
    ):
        if candidate.is_file():
            return candidate
    raise UnusableWeights(
        f"{place}: no weights there (looked for model.safetensors, models/model.safetensors and models/model.pt). "
        "Train some: python -m monai.bundle run training --config_file <bundle>/configs/train.yaml "
        "--dataset_dir <images> --datalist <datalist.json>, then give the run's folder with --weights."
    )


def load_weights(network: torch.nn.Module, place: str | Path) -> Path:
    """Put weights into a network; half precision on disk becomes the network's own.

    Args:
        network: its state dictionary must have the same keys and shapes as the file.
        place: a `.safetensors` or `.pt` file, or the folder of a run or bundle.

    Returns:
        The file that was loaded.

    Raises:
        UnusableWeights: not there, damaged, or made for another network.
    """
    path = find_weights(Path(place))
    weights = read_weights(path)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1:3]
        raise UnusableWeights(
            f"{path}: these weights belong to another network than {type(network).__name__} "
            f"({' '.join(first).strip()}); "
            "name the overlay that they were trained with"
        ) from None
    return path


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A file's tensors by name, on the CPU.

    Raises:
        UnusableWeights: damaged, or anything but tensors inside.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UnusableWeights(f"{path}: damaged safetensors ({error}); get the file again") from None
    state = read_checkpoint(path)
    state = state.get("model", state)
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UnusableWeights(f"{path}: holds more than tensors; save the network's state_dict alone")
    return state


def write_weights(network: torch.nn.Module, path: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a network's state as safetensors, atomically; `dtype` converts floating-point tensors."""
    state = {
        name: (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    with atomic(path, "wb") as file:
        file.write(save(state))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A PyTorch file of tensors and plain values; the only `torch.load` in the package.

    Raises:
        UnusableWeights: damaged (a flipped bit too), or with code inside.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            broken = archive.testzip()
        if broken is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnusableWeights(f"{path}: cannot be loaded safely ({type(error).__name__}: {error})") from None
    raise UnusableWeights(f"{path}: damaged ({broken} fails its checksum)")
