"""Load weights safely: safetensors, or PyTorch files without pickled code."""

import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from monai_brain.io.write import atomic, sha256_of

logger = logging.getLogger(__name__)

CHECKSUM = "tensors_sha256"
"""Entry of a safetensors file's metadata, see `checksum_of`."""

MODEL = "model.safetensors"
"""File name in a run or bundle; its manifest `run.json` is next to it."""

HEAD_PREFIXES = ("classifier.", "fc.", "refinement.", "decoder.", "output.")
"""Layers that depend on the classes, or that public weights do not have."""


class InvalidWeights(ValueError):
    """A weight file is missing, damaged, or made for another network."""


def find_weights(place: Path) -> Path:
    """Resolve a path to a weight file: the file itself, or the best model of a run or bundle folder.

    Raises:
        InvalidWeights: there are no weights; the message says how to get some.
    """
    if place.is_file():
        return place
    for candidate in (
        place / MODEL,
        place / "models" / MODEL,
        place / "models" / "model.pt",
    ):
        if candidate.is_file():
            return candidate
    raise InvalidWeights(
        f"{place}: no weights there (looked for model.safetensors, models/model.safetensors and models/model.pt). "
        "Train some: python -m monai.bundle run training --config_file <bundle>/configs/train.yaml "
        "--dataset_dir <images> --datalist <datalist.json>, then give the run's folder with --weights."
    )


def load_weights(network: torch.nn.Module, place: str | Path) -> Path:
    """Load weights into a network; half precision on disk is converted to the network's own.

    Args:
        network: its state dictionary must have the same keys and shapes as the file.
        place: a `.safetensors` or `.pt` file, or the folder of a run or bundle.

    Returns:
        The file that was loaded.

    Raises:
        InvalidWeights: not there, damaged, or made for another network.
    """
    path = find_weights(Path(place))
    weights = read_weights(path)
    if path.suffix == ".safetensors" and _recorded_checksum(path) is None:
        logger.warning("%s: has no checksum, so damage would not be noticed", path)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1:3]
        raise InvalidWeights(
            f"{path}: these weights belong to another network than {type(network).__name__} "
            f"({' '.join(first).strip()}); "
            "name the overlay that they were trained with"
        ) from None
    return path


def start_from(network: torch.nn.Module, weights: str) -> torch.nn.Module:
    """Load the initial weights for training into a network.

    Args:
        network: as built. For `imagenet` it names its public file in `imagenet_url`.
        weights: `none` (from scratch), `imagenet` (torchvision's public file, downloaded once by PyTorch's hub
            and checked by its hash), or a file or run folder. Layers of the head that have another shape in
            the file, because it was trained for other classes, stay as they are.

    Returns:
        The network.

    Raises:
        InvalidWeights: not reachable, damaged, or for another network.
    """
    if weights == "none":
        return network
    state = _imagenet_weights(network) if weights == "imagenet" else read_weights(find_weights(Path(weights)))
    own = network.state_dict()
    # a counter that batch norm has had since PyTorch 0.4.1, and older public files have not
    body = [name for name in own if not name.startswith(HEAD_PREFIXES) and not name.endswith("num_batches_tracked")]
    wrong = [name for name in body if name not in state or state[name].shape != own[name].shape]
    wrong += [name for name in state if name not in own and not name.startswith(HEAD_PREFIXES)]
    if wrong:
        raise InvalidWeights(
            f"{weights}: weights of another network than {type(network).__name__}: {len(wrong)} layers do not fit, "
            f"such as {wrong[0]}"
        )
    fitting = {name: t for name, t in state.items() if name in own and t.shape == own[name].shape}
    network.load_state_dict(fitting, strict=False)
    return network


def _imagenet_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    url = getattr(network, "imagenet_url", None)
    if not isinstance(url, str):
        raise InvalidWeights(f"{type(network).__name__} has no public ImageNet weights; set weights to none or a file")
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the hash does not fit
        place = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        raise InvalidWeights(
            f"{url}: could not be fetched ({error}). Without internet, put that file at {place}, or give a file "
            "with torchvision's keys as weights"
        ) from None


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A file's tensors by name, on the CPU.

    Raises:
        InvalidWeights: damaged (a flipped bit too, where a checksum is recorded), or anything but tensors inside.
    """
    if path.suffix == ".safetensors":
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InvalidWeights(f"{path}: damaged safetensors ({error}); get the file again") from None
        checksum = _recorded_checksum(path)
        if checksum not in (None, checksum_of(tensors), sha256_of(path)):
            raise InvalidWeights(f"{path}: damaged: its weights fail their checksum; get the file again")
        return tensors
    state = read_checkpoint(path)
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InvalidWeights(f"{path}: contains more than tensors; save the network's state_dict alone")
    return state


def write_weights(
    network: torch.nn.Module,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write a network's state as safetensors, atomically.

    Args:
        network: its state dictionary is written.
        path: the file.
        dtype: for floating-point tensors; None keeps theirs.
        settings: plain data to travel inside, see `io.settings`.
    """
    state = {
        name: (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    with atomic(path, "wb") as file:
        file.write(encoded_weights(state, settings))


def encoded_weights(state: Mapping[str, torch.Tensor], settings: Mapping[str, Any] | None = None) -> bytes:
    """A safetensors file's content, with a checksum of its tensors, which the format itself has not.

    The same state and settings give the same bytes.

    Args:
        state: contiguous tensors by name, on the CPU.
        settings: plain data to travel inside, see `io.settings`.
    """
    metadata = {CHECKSUM: checksum_of(state)} | ({"settings": json.dumps(settings)} if settings else {})
    return _with_sorted_metadata(save(dict(state), metadata=metadata))


def _with_sorted_metadata(content: bytes) -> bytes:
    """The same safetensors file with a fixed order of metadata; the library writes them in a random one."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    sorted_header = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    sorted_header += b" " * (-len(sorted_header) % 8)  # tensors stay aligned
    return len(sorted_header).to_bytes(8, "little") + sorted_header + content[8 + size :]


def checksum_of(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of tensors with their names, types and shapes, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _recorded_checksum(path: Path) -> str | None:
    """Of the tensors, from the file itself; or of the file, from the manifest beside it; None where there is none."""
    with safe_open(path, "pt") as file:
        own = (file.metadata() or {}).get(CHECKSUM)
    manifest = path.with_name("run.json")
    if own is None and path.name == MODEL and manifest.is_file():
        try:
            own = json.loads(manifest.read_text(encoding="utf-8"))["result"]["weights_sha256"]
        except (ValueError, KeyError, TypeError):
            return None
    return own


def read_settings(path: Path) -> Any:
    """The settings that `write_weights` stored with the tensors, unchecked; None if there are none."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {}).get("settings", "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InvalidWeights(f"{path}: damaged safetensors ({error}); get the file again") from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A PyTorch file of tensors and plain values; the only `torch.load` in the package.

    Raises:
        InvalidWeights: damaged (a flipped bit too), or with code inside.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            broken = archive.testzip()
        if broken is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InvalidWeights(f"{path}: cannot be loaded safely ({type(error).__name__}: {error})") from None
    raise InvalidWeights(f"{path}: damaged ({broken} fails its checksum)")
