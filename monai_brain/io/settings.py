"""What a run must hand on so that its weights are used as they were trained; and reading that back safely.

A MONAI config can run any Python. What is recorded here is plain data and class names only, and what is
read back is refused unless it is just that: the one place where configs from elsewhere are read.
"""

import json
import re
from pathlib import Path
from typing import Any

from monai_brain import workflow

RECORDED_KEYS = ("image_size", "network_def", "cam_layer", "deterministic_transforms", "intensity_transforms")

ALLOWED_TARGET = re.compile(
    r"monai_brain\.(networks|transforms)\.[a-z_0-9]+\.[A-Z]\w*|monai\.networks\.nets\.[A-Za-z]\w*|torch\.nn\.[A-Z]\w*"
)
"""Classes that a recorded `_target_` may name: no attribute chains, which would reach other modules' functions."""


class UnsafeSettings(ValueError):
    """Recorded settings hold more than plain data and known classes."""


def record() -> dict[str, Any]:
    """The running workflow's values of `RECORDED_KEYS`, every reference and expression replaced by its value."""
    running = workflow.current()
    if running is None:
        raise RuntimeError("settings are recorded by a bundle's run; there is none")
    return {key: _resolved(running.parser, key, running.parser[key]) for key in RECORDED_KEYS if key in running.parser}


def read(place: Path) -> dict[str, Any] | None:
    """The settings recorded beside weights: in `run.json` of their folder; None where there are none.

    Raises:
        UnsafeSettings: they hold an expression, a reference or a class that is not allowed.
    """
    folder = place if place.is_dir() else place.parent
    for manifest in (folder / "run.json", folder / "models" / "run.json"):
        if manifest.is_file():
            settings = json.loads(manifest.read_text(encoding="utf-8")).get("settings")
            if settings:
                check(settings, str(manifest))
                return {key: settings[key] for key in RECORDED_KEYS if key in settings}
    return None


def check(value: Any, where: str) -> None:
    """Refuse anything but plain data and allowed classes.

    Raises:
        UnsafeSettings: naming where it stands.
    """
    if isinstance(value, dict):
        target = value.get("_target_")
        if target is not None and not (isinstance(target, str) and ALLOWED_TARGET.fullmatch(target)):
            raise UnsafeSettings(f"{where}: _target_ {target!r} is not a network or transform that may be loaded")
        for key, inner in value.items():
            if key.startswith("_") and key.endswith("_") and key != "_target_":
                raise UnsafeSettings(f"{where}: {key} is not allowed in recorded settings")
            check(inner, f"{where}::{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            check(inner, f"{where}::{index}")
    elif isinstance(value, str) and value.startswith(("$", "@", "%")):
        raise UnsafeSettings(f"{where}: {value[:40]!r} is an expression; recorded settings are plain data")


def adopt(place: str | Path) -> None:
    """Set the running workflow's network and preprocessing to those recorded beside `place`'s weights.

    For the `run:` list of evaluate.yaml and inference.yaml, so that naming a run is enough.
    Without recorded settings, nothing changes.
    """
    running = workflow.current()
    settings = read(Path(place))
    if running is None or settings is None:
        return
    running.parser.update(settings)
    running.parser.parse(reset=True)


def _resolved(parser: Any, identity: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(parser, f"{identity}::{key}", inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(parser, f"{identity}::{index}", inner) for index, inner in enumerate(value)]
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        return json.loads(json.dumps(parser.get_parsed_content(identity)))
    return value
