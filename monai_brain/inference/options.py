"""What a folder run can be asked to do, and what of it has an effect with a bundle."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml


class NoEffect(ValueError):
    """Options that would be ignored; the message names them and the way out."""


@dataclass(frozen=True)
class FolderRunOptions:
    """Options of a folder run, by the keys of a bundle's inference.yaml; None leaves what that file says.

    Raises:
        NoEffect: two of them do not go together.
    """

    weights: Path | None = None
    """A run's folder or a weight file."""
    # what is searched
    part: str | None = None
    recursive: bool | None = None
    glob: str | None = None
    follow_links: bool | None = None
    # what is done
    explain: bool | None = None
    method: str | None = None
    review: bool | None = None
    overwrite: bool | None = None
    resume: bool | None = None
    # of a classifier
    slices: str | None = None
    answer_anyway: bool | None = None
    coverage: float | None = None
    calibration: str | None = None
    patient_pattern: str | None = None
    # of a segmenter
    masks: bool | None = None
    overlays: bool | None = None
    threshold: float | None = None
    smallest_area: float | None = None
    smallest_volume: float | None = None
    force: bool | None = None
    deidentify: bool | None = None
    # what computes
    engine: str | None = None
    precision: str | None = None
    device: str | None = None
    batch_size: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.method is not None and not self.explain:
            raise NoEffect("--method: has no effect without --explain")
        if self.resume and self.overwrite:
            raise NoEffect("--resume cannot be combined with --overwrite: it keeps what the other replaces")

    def given(self) -> dict[str, Any]:
        """The options that were given, as values for a config."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in named.items() if value is not None
        }


@dataclass(frozen=True)
class Knobs:
    """What can be set in a bundle's inference.yaml.

    Args:
        bundle: its folder.
    """

    bundle: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The file's content."""
        content = yaml.safe_load((self.bundle / "configs" / "inference.yaml").read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}

    def has(self, name: str) -> bool:
        """Whether there is such a knob."""
        return name in self.config

    def uses(self, name: str) -> bool:
        """Whether anything is made with it; the step that begins a run only records it."""
        steps = [step for step in self.config["run"] if ".begin(" not in step]
        return re.search(rf"@{name}\b", str({**self.config, "run": steps})) is not None


def check_effect(options: FolderRunOptions, bundle: Path, others: Mapping[str, Path]) -> list[str]:
    """Options that are ignored, as warnings.

    Args:
        options: of the run.
        bundle: that is applied.
        others: known bundles by name, one of which may be meant.

    Raises:
        NoEffect: the bundle has no such options.
    """
    knobs = Knobs(bundle)
    missing = [name for name in options.given() if not knobs.has(name)]
    if missing:
        known = [name for name, place in others.items() if all(Knobs(place).has(own) for own in missing)]
        hint = f"; did you mean --bundle {known[0]}?" if known else ""
        raise NoEffect(f"{_flags(missing)}: {bundle.name} has no such option{hint}")
    idle = [name for name in options.given() if not knobs.uses(name)]
    return [f"warning: {_flags(idle)}: has no effect with {bundle.name}"] if idle else []


def _flags(names: list[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
