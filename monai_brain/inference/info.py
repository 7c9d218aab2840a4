"""What is installed here: bundles, engines, formats, versions."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from monai_brain.explain.methods import METHODS
from monai_brain.inference.apply import REPOSITORY_BUNDLES
from monai_brain.inference.engines import ENGINES
from monai_brain.io.formats import titles

PACKAGES = ("monai-brain", "monai", "torch", "pytorch-ignite", "numpy", "nibabel", "pydicom", "itk", "onnxruntime")


def describe_installation(bundles: Path = REPOSITORY_BUNDLES) -> dict[str, Any]:
    """Bundles, engines, formats, explanations and versions, as JSON values.

    Args:
        bundles: folder of bundles.
    """

    return {
        "bundles": [_bundle(path.parents[1]) for path in sorted(bundles.glob("*/configs/metadata.json"))],
        "engines": {name: _engine(name) for name in ENGINES},
        "formats": titles(),
        "explanations": list(METHODS),
        "devices": usable_devices(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "note": "Research use only; not a medical device.",
    }


def usable_devices() -> list[str]:
    """Names that torch computes on here; `cuda` is the first GPU."""
    import torch

    count = torch.cuda.device_count()
    return ["cpu", *(["cuda"] if count else []), *(f"cuda:{n}" for n in range(count))]


def _bundle(folder: Path) -> dict[str, Any]:
    described = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return {
        "name": folder.name,
        "folder": str(folder),
        "version": described["version"],
        "task": described["task"],
        "has_weights": (folder / "models" / "model.safetensors").is_file(),
    }


def _engine(name: str) -> dict[str, Any]:
    engine = ENGINES[name]
    missing = [package for package in engine.packages if _version(package) is None]
    return {"precisions": list(engine.precisions), "available": not missing, "missing": missing}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
