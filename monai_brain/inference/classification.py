"""From class logits of slices to a class for every case."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from monai_brain.evaluation.calibration_file import PATIENTS, SLICES, VERDICT_RULE
from monai_brain.evaluation.input_check import find_input_check
from monai_brain.evaluation.verdict import mean_probability
from monai_brain.explain.methods import Explainer, make_explainer
from monai_brain.explain.trust import mask_hottest, to_gray, trust_of
from monai_brain.inference.evidence import EVIDENCE, EVIDENCE_DROP, evidence_of
from monai_brain.inference.learned import LearnedSlices
from monai_brain.inference.patients import Verdicts
from monai_brain.inference.prediction import ABSTAINED, BY_FILE, BY_PICTURE, SEQUENCE_SOURCE, Prediction
from monai_brain.inference.preparation import Chooser
from monai_brain.inference.sets import EMPTY_SET, SET_COLUMNS, Sets, find_sets
from monai_brain.inference.stream import OpenCase
from monai_brain.inference.task import Task, short_name
from monai_brain.io import UnreadableCase
from monai_brain.io.sequences import named_sequence
from monai_brain.io.weights import find_weights
from monai_brain.io.write import sha256_of, write_png
from monai_brain.labels import CLASS_NAMES, in_words, index_of_no_tumor
from monai_brain.report.explanations import METHOD_NAMES
from monai_brain.report.overlays import explanation_panel
from monai_brain.transforms.load import GRAY_PREFERENCE

FOREGROUND = 25
"""Of 255: brighter pixels are head."""

ENOUGH_HEAD = 0.5
"""Of the largest slice's area: smaller slices of a volume are the crown and the neck, which no class shows in."""

VOLUME_RULE = "mean of the probabilities of the slices whose head is at least half as large as the largest slice's"
"""How a volume gets its class without a calibration; with one, these slices go by `calibration_file.VERDICT_RULE`."""


def slices_with_head(volume: np.ndarray) -> list[int]:
    """See `VOLUME_RULE`; the volume is uint8 (C, D, H, W)."""
    area = (volume.max(axis=0) > FOREGROUND).sum(axis=(1, 2))
    return np.flatnonzero((area >= ENOUGH_HEAD * area.max()) & (area > 0)).tolist() or [volume.shape[1] // 2]


NO_CHECK = "These weights have no input check: every image gets a class, whatever it shows."
"""Said once by a run."""


class InvalidSlices(ValueError):
    """Slices that were asked for in a way that makes no sense."""


@dataclass(frozen=True)
class SliceRange:
    """Chooses slices of a volume by their index; travels to workers."""

    first: int
    end: int | None
    """One after the last; None: to the volume's end."""

    def __call__(self, volume: np.ndarray) -> list[int]:
        """Indices of slices of a volume, uint8 (C, D, H, W).

        Raises:
            UnreadableCase: `slices_out_of_range`.
        """
        depth = volume.shape[1]
        end = depth if self.end is None else self.end
        if end > depth:
            message = f"the volume has slices 0 to {depth - 1}; {self.first}:{end} is out of range; give another range"
            raise UnreadableCase("slices_out_of_range", message)
        return list(range(self.first, end))


def requested_slices(slices: str) -> SliceRange:
    """What `--slices` means: `40:60`, slices 40 to 59, counted from 0 as `deciding_slice` counts; or `all`.

    Raises:
        InvalidSlices: it means nothing.
    """
    if slices == "all":
        return SliceRange(0, None)
    found = re.fullmatch(r"(\d{1,6}):(\d{1,6})", slices) if isinstance(slices, str) else None
    if not found or int(found[1]) >= int(found[2]):
        raise InvalidSlices(
            f"slices {slices!r}; expected a range such as '40:60' (slices 40 to 59; in YAML with its quotes) or all"
        )
    return SliceRange(int(found[1]), int(found[2]))


class Explained(NamedTuple):
    """A slice's explanation."""

    heat: np.ndarray
    """(h, w), of the network's input."""
    drop: float | None
    """See `EVIDENCE_DROP`; None where the map is empty, so that nothing can be removed."""


class SliceOutput(NamedTuple):
    """What is kept of one slice."""

    probabilities: np.ndarray
    """(K,), of the classes."""
    image: Tensor | None = None
    """The network's input, of cases that are explained."""
    explained: Explained | None = None
    """For the slice's own class; of volumes it is made at the end, for one slice."""
    learned: bool = False
    """The network learned from this slice."""


class Classification(Task):
    """A class with its probabilities; for volumes by `VOLUME_RULE`, which is experimental.

    Args:
        explain: write an overlay per case, and how far it can be trusted; of a volume, for the slice that speaks most
            clearly. That takes a map and one more look at the slice.
        method: see `explain.methods`.
        cam_layer: layer that Grad-CAM looks at.
        slices: of volumes, see `requested_slices`; None: by `VOLUME_RULE`.
        weights: whose slices, learned from, are warned of, and whose input check is asked; None: neither.
        class_names: of the network's logits.
        answer_anyway: give a class also where there is a reason not to, with the reason as a warning.
        calibration: file for these weights; None: the one beside them, where there is one; `none`: none is used.
        coverage: of the sets, with a calibration only; see `sets.find_sets`.
        patient_pattern: regular expression for the patient in a path, see `patients.Verdicts`.
    """

    on_page = (SET_COLUMNS[0], "agreement", *EVIDENCE, EVIDENCE_DROP)
    folders = ("overlays",)
    verb = "classifying"
    choose: Chooser = staticmethod(slices_with_head)

    def __init__(
        self,
        explain: bool = False,
        method: str = "gradcam",
        cam_layer: str | None = None,
        slices: str | None = None,
        weights: str | None = None,
        class_names: Sequence[str] = CLASS_NAMES,
        answer_anyway: bool = False,
        calibration: str | None = None,
        coverage: float | None = None,
        patient_pattern: str | None = None,
    ) -> None:
        self.labels = tuple(class_names)
        probabilities = (f"prob_{name}" for name in class_names)
        self.columns = (
            *probabilities,
            "sequence",
            SEQUENCE_SOURCE,
            "plane",
            "slices",
            "agreement",
            "deciding_slice",
            *EVIDENCE,
            EVIDENCE_DROP,
        )
        if slices is not None:
            self.choose = requested_slices(slices)
        self.explain = self.asks_again = explain
        self.method = method
        self.cam_layer = cam_layer
        self.answer_anyway = answer_anyway
        self.explainer: Explainer | None = None
        self.learned = LearnedSlices(weights) if weights is not None else None
        self.check = find_input_check(find_weights(Path(weights))) if weights is not None else None
        self.settings = {"input_check": sha256_of(self.check.path) if self.check else None}
        self.notes = () if self.check else (NO_CHECK,)
        self.use_calibration(find_sets(weights, calibration, coverage, class_names), patient_pattern)

    def use_calibration(self, sets: Sets | None, patient_pattern: str | None) -> "Classification":
        """The same task, with calibrated probabilities and sets, and with patients by a pattern."""
        self.sets = sets
        self.verdicts = Verdicts(self.labels, sets, patient_pattern)
        if sets is not None:
            self.columns = (*self.columns, *SET_COLUMNS)
            self.settings = {**self.settings, **sets.chosen}
            self.page_note = sets.note
        return self

    def ready(self, network: nn.Module) -> None:
        """See `Task`.

        Raises:
            UnknownMethod: an explanation is asked for that the network cannot be given.
            NoSuchLayer: the network has no layer of this name.
        """
        if self.explain:
            self.explainer = make_explainer(self.method, network, self.cam_layer)

    def keep(self, engine: Engine, output: Mapping[str, Any], cases: Sequence[OpenCase]) -> Sequence[SliceOutput]:
        """Probabilities, and where it is explained the input and, of slices, the map."""
        probabilities = self._probabilities(output["pred"])
        images = output["image"]
        learned = self.learned.holds(images).tolist() if self.learned else [False] * len(cases)
        if not self.explain:
            return [SliceOutput(own, learned=known) for own, known in zip(probabilities, learned, strict=True)]
        slices = [position for position, opened in enumerate(cases) if opened.image.kind == "slice"]
        explained: dict[int, Explained] = {}
        if slices:
            labels = probabilities[slices].argmax(axis=1)
            explained = dict(
                zip(slices, self._explain(engine, images[slices], labels, probabilities[slices]), strict=True)
            )
        return [
            SliceOutput(own, images[place].cpu(), explained.get(place), learned[place])
            for place, own in enumerate(probabilities)
        ]

    def finish(self, opened: OpenCase, engine: Engine) -> Prediction:
        """See `Task`."""
        case, warnings = opened.case, opened.warnings
        order = sorted(opened.outputs)
        every = np.stack([opened.outputs[position].probabilities for position in order])
        if not np.isfinite(every).all():
            return Prediction(case.id, "error", "non_finite_output", warnings=warnings)
        rule = VERDICT_RULE if self.sets else mean_probability
        mean = rule(every, index_of_no_tumor(self.labels))
        chosen = int(mean.argmax())
        deciding = order[int(every[:, chosen].argmax())]
        values: dict[str, Any] = {f"prob_{name}": f"{value:.6f}" for name, value in zip(self.labels, mean, strict=True)}
        if opened.image.kind == "volume":
            warnings = (*warnings, "volume_experimental")
            agreement = f"{(every.argmax(axis=1) == chosen).mean():.3f}"
            values |= {"slices": len(order), "agreement": agreement, "deciding_slice": deciding}
        if any(seen.learned for seen in opened.outputs.values()):
            warnings = (*warnings, "learned_slice")
        reason, values["sequence"], values["plane"], values[SEQUENCE_SOURCE] = self._checked(opened)
        if self.sets is not None:
            values |= self.sets.columns(mean, PATIENTS if opened.image.kind == "volume" else SLICES)
            reason = reason or ("" if values["set"] else EMPTY_SET)
        if reason and not self.answer_anyway:
            return Prediction(case.id, ABSTAINED, reason, values=values, warnings=warnings)
        warnings = (*warnings, *filter(None, [reason]))
        overlay = ""
        if self.explain:
            overlay, evidence, noted = self._write_overlay(opened, deciding, chosen, engine)
            values, warnings = values | evidence, (*warnings, *noted)
        return Prediction(case.id, "ok", "", self.labels[chosen], float(mean[chosen]), values, warnings, overlay)

    def close(self) -> None:
        """Take everything off the network."""
        if self.explainer is not None:
            self.explainer.close()

    def _checked(self, opened: OpenCase) -> tuple[str, str, str, str]:
        """Code of an abstention, sequence, plane, and where the sequence is from; all empty without an input check."""
        if self.check is None or opened.checked is None:
            return "", "", "", ""
        channels = opened.image.channels
        seen = next((name for name in GRAY_PREFERENCE if name in channels), "")
        said = seen or opened.image.sequence or named_sequence(opened.case.id)
        code, sequence, plane = self.check.reason(opened.checked, said)
        if plane:
            plane = getattr(opened.image.source, "plane", "") or plane  # a volume's header tells
        return code, sequence, plane, (BY_FILE if said else BY_PICTURE) if sequence else ""

    def _probabilities(self, logits: Tensor) -> np.ndarray:
        """Of every class, (N, K); calibrated where that is known."""
        probabilities = torch.softmax(logits.detach().float().cpu(), dim=1).numpy()
        return probabilities if self.sets is None else self.sets.calibration.scaled(probabilities)

    def _explain(
        self, engine: Engine, images: Tensor, labels: np.ndarray, probabilities: np.ndarray
    ) -> list[Explained]:
        """Explain slices (N, C, H, W) for their labels (N,), which have probabilities (N, K)."""
        assert self.explainer is not None  # `ready` made it
        maps = self.explainer(images, torch.as_tensor(labels, device=images.device))
        without = mask_hottest(images, maps)
        count = len(images)
        if count > 1:  # filled up as every batch is, so that a divided run gives the same digits; not for one slice
            without, _ = engine.prepare_batch({"image": without}, engine.state.device, False)
        with eval_mode(engine.network):  # MONAI's evaluator leaves it in training mode between batches
            after = self._probabilities(engine.inferer(without, engine.network)[:count])
        drops = (probabilities - after)[np.arange(count), labels]
        heat = maps.cpu().numpy()[:, 0]
        return [Explained(own, float(drop) if own.any() else None) for own, drop in zip(heat, drops, strict=True)]

    def _write_overlay(
        self, opened: OpenCase, position: int, label: int, engine: Engine
    ) -> tuple[str, dict[str, str], tuple[str, ...]]:
        """Path of the overlay of one slice, what its map's mass says, and warnings."""
        seen = opened.outputs[position]
        explained = seen.explained
        if explained is None:
            image = seen.image[None].to(engine.state.device)
            (explained,) = self._explain(engine, image, np.array([label]), seen.probabilities[None])
        gray = to_gray(seen.image.numpy())
        name = f"overlays/{short_name(opened.case.id)}.png"
        caption = f"{METHOD_NAMES[self.method]} for {in_words(self.labels[label])}"
        write_png(self.output / name, explanation_panel(gray, explained.heat, caption))
        trust = trust_of(explained.heat, gray)
        drop = {} if explained.drop is None else {EVIDENCE_DROP: f"{explained.drop:.3f}"}
        return name, {**evidence_of(trust), **drop}, trust.warnings
