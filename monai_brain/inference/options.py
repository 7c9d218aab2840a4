"""Options of a folder run, and which of them have an effect with a bundle."""

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
    """Options of a folder run, named after the keys of a bundle's inference.yaml; None keeps the value in that file.

    Raises:
        NoEffect: two options contradict each other.
    """

    weights: Path | None = None
    """A run's folder or a weight file."""
    # what is searched
    part: str | None = None
    """Process one part, such as `2/4`; `monai-brain merge` combines the parts."""
    recursive: bool | None = None
    """Search subfolders too."""
    glob: str | None = None
    """Take only files whose path ends like this, such as `*.png` or `flair/*.nii`."""
    follow_links: bool | None = None
    """Follow symbolic links that lead out of the folder."""
    # what is done
    explain: bool | None = None
    """Write a heat map per case that shows where the evidence is."""
    method: str | None = None
    """Method of `explain`, one of `explain.methods.METHODS`."""
    review: bool | None = None
    """Write a page on which a human reader can answer as well."""
    overwrite: bool | None = None
    """Replace earlier results in the output folder."""
    resume: bool | None = None
    """True: also extend a finished run; False: never continue; None: continue an interrupted run."""
    # of a classifier
    slices: str | None = None
    """Slices of a volume to classify: a range such as `40:60` (40 to 59, counted from 0), or `all`."""
    answer_anyway: bool | None = None
    """Give a class even if there is a reason not to; the reason becomes a warning."""
    coverage: float | None = None
    """How often the set of classes should contain the true one, 0.5 to 0.99; needs a calibration."""
    calibration: str | None = None
    """Calibration file, or `none` for uncalibrated probabilities."""
    patient_pattern: str | None = None
    """Regular expression for the patient in a path; each patient gets a class too."""
    # of a segmenter
    masks: bool | None = None
    """Write a mask per case."""
    overlays: bool | None = None
    """Write an overlay for each case with a tumor."""
    threshold: float | None = None
    """Probability above which a pixel is tumor."""
    smallest_area: float | None = None
    """Smallest component of a slice to keep, in mm2, or in pixels if the spacing is unknown."""
    smallest_volume: float | None = None
    """Smallest component of a volume to keep, in mm3, or in voxels if the spacing is unknown."""
    force: bool | None = None
    """Outline even sequences that the weights were not trained on."""
    deidentify: bool | None = None
    """Replace patient and UIDs in DICOM masks; the key is written beside the output folder."""
    # what computes
    engine: str | None = None
    """Software that runs the network: one of `inference.engines.ENGINES`, or `auto`."""
    precision: str | None = None
    """`fp32`, `bf16` or `int8`, if the engine supports it; with the engine `auto` also `auto`."""
    device: str | None = None
    """Device of the torch engine, such as `cpu` or `cuda:1`."""
    batch_size: int | None = None
    """Slices per batch."""
    workers: int | None = None
    """Number of processes that read files; 0: read in the main process."""

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
    """The keys of a bundle's inference.yaml that can be set.

    Args:
        bundle: folder of the bundle.
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
        """Whether anything uses it, other than the first step of a run, which only records it."""
        steps = [step for step in self.config["run"] if ".begin(" not in step]
        return re.search(rf"@{name}\b", str({**self.config, "run": steps})) is not None


def check_effect(options: FolderRunOptions, bundle: Path, others: Mapping[str, Path]) -> list[str]:
    """Options that are ignored, as warnings.

    Args:
        options: options of the run.
        bundle: folder of the bundle that is applied.
        others: known bundles by name, to suggest one that has the option.

    Raises:
        NoEffect: the bundle does not have one of the options.
    """
    knobs = Knobs(bundle)
    given = options.given()
    missing = {name: value for name, value in given.items() if not knobs.has(name)}
    if missing:
        known = [name for name, place in others.items() if all(Knobs(place).has(own) for own in missing)]
        hint = f"; did you mean --bundle {known[0]}?" if known else ""
        raise NoEffect(f"{_flags(missing)}: {bundle.name} has no such option{hint}")
    idle = {name: value for name, value in given.items() if not knobs.uses(name)}
    return [f"warning: {_flags(idle)}: has no effect with {bundle.name}"] if idle else []


def _flags(given: Mapping[str, Any]) -> str:
    """The options as typed on the command line."""
    return ", ".join(f"--{'no-' if value is False else ''}{name.replace('_', '-')}" for name, value in given.items())
