"""What a run must hand on so that its weights are used as they were trained; and reading that back safely.

A MONAI config can run any Python. What is recorded here is plain data and class names only, and what is
read back is refused unless it is just that: the one place where configs from elsewhere are read.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

from monai_brain import workflow
from monai_brain.extensions import registered
from monai_brain.io.weights import find_weights, read_settings
from monai_brain.io.write import sha256_of, write_json
from monai_brain.labels import CLASS_NAMES, InvalidClasses, check_class_names

RECORDED_KEYS = (
    "class_names",
    "image_size",
    "network_def",
    "cam_layer",
    "deterministic_transforms",
    "intensity_transforms",
)
"""Settings recorded with trained weights. A segmenter has no classes."""

CHOSEN_KEYS = ("threshold",)
"""What evaluations chose to apply weights with; kept beside weights, and inside those that are published."""

CHOSEN_FILE = "chosen.json"
"""File with `CHOSEN_KEYS` in a run folder."""

USERS_CHOICE = ("cam_layer", *CHOSEN_KEYS)
"""Recorded keys that a user may override."""

MONAI_TRANSFORMS = [
    "CenterSpatialCropd",
    "EnsureTyped",
    "NormalizeIntensityd",
    "RepeatChanneld",
    "ResizeWithPadOrCropd",
    "Resized",
    "ScaleIntensityd",
    "ScaleIntensityRanged",
    "ScaleIntensityRangePercentilesd",
    "SpatialPadd",
]
MONAI_NETWORKS = [
    "BasicUNet",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "FlexibleUNet",
    "ResNet",
    "SEResNet50",
    "UNet",
    "ViT",
]

ALLOWED_TARGET = re.compile(
    r"monai_brain\.(networks|transforms)\.[a-z_0-9]+\.[A-Z]\w*"
    rf"|(monai\.transforms\.)?({'|'.join(MONAI_TRANSFORMS)})"
    rf"|monai\.networks\.nets\.({'|'.join(MONAI_NETWORKS)}|resnet(10|18|34|50|101|152))"
    r"|torch\.nn\.[A-Z]\w*"
)
"""Classes that a recorded `_target_` may name, beside those that installed packages register: no attribute chains,
which would reach other modules' functions."""


logger = logging.getLogger(__name__)


class UnsafeSettings(ValueError):
    """Recorded settings contain more than plain data and known classes."""


class SettingsConflict(ValueError):
    """The command line contradicts the settings that the weights were trained with."""


def record() -> dict[str, Any]:
    """The running workflow's values of `RECORDED_KEYS`, every reference and expression replaced by its value."""
    running = workflow.current()
    if running is None:
        raise RuntimeError("settings can only be recorded inside a bundle run")
    return {key: _resolved(running.parser, key, running.parser[key]) for key in RECORDED_KEYS if key in running.parser}


def describe(*keys: str) -> dict[str, Any]:
    """Entries of the running workflow's config as plain data, to recognize them by; what has no plain value stays
    the expression that it is, and so does a list of a data set's items, which the datalist's hash stands for.
    """
    running = workflow.current()
    if running is None:
        raise RuntimeError("configs can only be described inside a bundle run")
    return {key: _resolved(running.parser, key, running.parser[key], strict=False) for key in keys}


def read(place: Path) -> dict[str, Any] | None:
    """The settings that travel inside a weight file, or stand in its run's `run.json`; None where there are none.

    Raises:
        UnsafeSettings: they hold an expression, a reference or a class that is not allowed, or are damaged.
        InvalidWeights: there are no weights at `place`.
    """
    file = find_weights(place)
    found, where = read_settings(file), file
    for folder in (file.parent, file.parent.parent):  # a checkpoint lies in a folder of its own
        if found is None and (folder / "run.json").is_file():
            found, where = _manifest(folder / "run.json").get("settings"), folder / "run.json"
    if found is None:
        return None
    check(found, str(where))
    if not isinstance(found, dict):
        raise UnsafeSettings(f"{where}: the recorded settings are not a dictionary; train again, or use another run")
    if "class_names" in found:  # which become columns, and parts of file names and pages
        try:
            check_class_names(found["class_names"])
        except InvalidClasses as error:
            raise UnsafeSettings(f"{where}: {error}") from None
    return {key: found[key] for key in (*RECORDED_KEYS, *CHOSEN_KEYS) if key in found}


def keep_chosen(run_dir: str | Path, weights: str | Path, datalist: str | Path, values: dict[str, Any]) -> None:
    """Record the values chosen by an evaluation next to its weights, so that predictions use them.

    Nothing is recorded for weights or a datalist other than the run's own.

    Args:
        run_dir: a training run's folder.
        weights: what was evaluated.
        datalist: on whose validation part the choice was made.
        values: of `CHOSEN_KEYS`.
    """
    file, own_datalist = find_weights(Path(run_dir)), Path(run_dir) / "datalist.json"
    if find_weights(Path(weights)) != file or not own_datalist.is_file():
        return
    if sha256_of(own_datalist) == sha256_of(Path(datalist)):
        write_json(file.with_name(CHOSEN_FILE), {**values, "weights_sha256": sha256_of(file)})


def read_chosen(place: Path) -> dict[str, Any]:
    """The values that `keep_chosen` recorded for exactly these weights, checked; empty if there are none."""
    file = find_weights(place)
    note = file.with_name(CHOSEN_FILE)
    if not note.is_file():
        return {}
    content = _manifest(note)
    if content.get("weights_sha256") != sha256_of(file):  # trained on since, or again
        return {}
    check(content, str(note))
    return {key: content[key] for key in CHOSEN_KEYS if key in content}


def check(value: Any, where: str) -> None:
    """Refuse anything but plain data and allowed classes.

    Raises:
        UnsafeSettings: naming where it stands.
    """
    if isinstance(value, dict):
        target = value.get("_target_")
        if target is not None and not (isinstance(target, str) and _is_allowed(target)):
            raise UnsafeSettings(
                f"{where}: _target_ {target!r} is not allowed in the settings of weights; use a class of "
                f"monai_brain.networks, monai_brain.transforms or torch.nn, one of {', '.join(MONAI_TRANSFORMS)}, "
                f"{', '.join(MONAI_NETWORKS)}, resnet10 to resnet152, or a class that an installed package registers "
                "(docs/extending.md)"
            )
        for key, inner in value.items():
            reserved = key.startswith("_") and key.endswith("_") and key != "_target_"
            if reserved or (key.startswith("pretrained") and inner):  # which would fetch or open other files
                raise UnsafeSettings(f"{where}: {key} is not allowed in recorded settings; leave it out")
            check(inner, f"{where}::{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            check(inner, f"{where}::{index}")
    elif isinstance(value, str) and value.startswith(("$", "@", "%")):
        raise UnsafeSettings(f"{where}: {value[:40]!r} is an expression; recorded settings are plain data")


def _is_allowed(target: str) -> bool:
    others = (entry for kind in ("networks", "transforms") for entry in registered(kind).values())
    return bool(ALLOWED_TARGET.fullmatch(target)) or target in {f"{own.module}.{own.attr}" for own in others}


def adopt(place: str | Path, *, as_chosen: bool = True) -> None:
    """Set the running workflow's network and preprocessing to those recorded with `place`'s weights.

    For the `run:` list of evaluate.yaml and inference.yaml, so that naming a run is enough. What config files say
    gives way to what is recorded. What the user set beside them may not contradict it, but for `USERS_CHOICE`.
    Without recorded settings nothing changes, and a warning says so.

    Args:
        place: of the weights.
        as_chosen: also what an evaluation of this run chose; an evaluation itself chooses anew.

    Raises:
        SettingsConflict: the command line sets a recorded key to something else.
    """
    running = workflow.current()
    settings = read(Path(place))
    if running is None:
        return
    if settings is None:
        logger.warning("%s: no settings recorded with these weights; network and preprocessing are the config's", place)
        return
    if "class_names" in running.parser and "class_names" not in settings:  # recorded when there were no others
        settings["class_names"] = list(CLASS_NAMES)
    if as_chosen and (chosen := read_chosen(Path(place))):
        logger.info("%s: as chosen in the run's evaluation: %s", place, chosen)
        settings |= chosen
    for key in [key for key in settings if key in running.parser and _set_by_user(running, key)]:
        value = _resolved(running.parser, key, running.parser[key])
        if key in USERS_CHOICE:
            del settings[key]
        elif value != settings[key]:
            raise SettingsConflict(
                f"{key} is set to {value}, but the weights were trained with {settings[key]}; leave it out"
            )
    running.parser.update(
        {key: value for key, value in settings.items() if key not in CHOSEN_KEYS or key in running.parser}
    )
    running.parser.parse(reset=True)


def _set_by_user(running: Any, key: str) -> bool:
    """Whether a key was set outside the config files."""
    known = workflow.overridden()
    if known is not None:
        return key in known
    # a workflow that somebody else made: what stands in none of its files; a value equal to theirs cannot be told apart
    return all(file.get(key) != running.parser[key] for file in _files_in_use(running))


def _files_in_use(running: Any) -> list[dict[str, Any]]:
    """Contents of those files of a bundle that a workflow can have been made of: it has all their keys."""
    found = []
    for path in sorted(running.config_root_path.rglob("*.yaml")):
        content = type(running.parser).load_config_file(str(path))
        heads = {key.lstrip("+").partition("::")[0] for key in content}
        # overlays for other networks have the same keys, and a name of their own
        other = path.parent != running.config_root_path and content.get("name") != running.parser.config.get("name")
        if heads <= set(running.parser.config) and not other:
            found.append(content)
    return found


def _manifest(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnsafeSettings(f"{path}: damaged ({error}); use another run") from None
    if not isinstance(content, dict):
        raise UnsafeSettings(f"{path}: is not a run's manifest; use another run")
    return content


def _resolved(parser: Any, identity: str, value: Any, strict: bool = True) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(parser, f"{identity}::{key}", inner, strict) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(parser, f"{identity}::{index}", inner, strict) for index, inner in enumerate(value)]
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        try:
            plain = json.loads(json.dumps(parser.get_parsed_content(identity)))
        except TypeError:
            if strict:
                raise
            return value
        if strict or not (isinstance(plain, list) and any(isinstance(item, dict) for item in plain)):
            return plain
    return value
