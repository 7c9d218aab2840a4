"""How far readers agree with a model and with each other, from exported reviews."""

import csv
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import cohen_kappa_score

from monai_brain.evaluation.intervals import Interval, group_bootstrap

MODEL = "model"

COLUMNS = ("path", "model_label", "reader", "decision", "reader_label", "blinded")
"""Columns that a review must have; it may have more."""

DECISIONS = ("accept", "reject", "relabel")


class InvalidReview(ValueError):
    """A file that is not a review, or reviews that do not belong together."""


class Answer(NamedTuple):
    """A reader's answer for a case."""

    label: str
    """Empty if the model's label was rejected without naming another."""
    blinded: bool
    """The answer was given before seeing the model's."""


class Review(NamedTuple):
    """The answers of one reader."""

    reader: str
    answers: Mapping[str, Answer]
    """By path."""
    model: Mapping[str, str]
    """The model's labels, by path."""


class Agreement(NamedTuple):
    """Agreement of two raters on the same cases."""

    first: str
    second: str
    cases: int
    agreement: float
    """Share of the cases with the same label; a rejection without another label counts as disagreement."""
    agreement_interval: Interval
    kappa: float | None
    """Cohen's kappa over the cases that both labeled; None if undefined."""
    kappa_interval: Interval | None
    blinded: int
    """Cases that at least one of the two read blinded."""
    disputed: Sequence[tuple[str, str, str]]
    """Paths, with the two labels."""


def read_review(path: Path) -> Review:
    """A review that was exported from the page.

    Raises:
        InvalidReview: naming the line and what is wrong with it.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise InvalidReview(f"{path}: no review; expected the columns {', '.join(COLUMNS)} and at least one answer")
    answers: dict[str, Answer] = {}
    for number, row in enumerate(rows, 2):
        if row["decision"] not in DECISIONS or bool(row["reader_label"]) == (row["decision"] == "reject"):
            raise InvalidReview(
                f"{path}, line {number}: decision {row['decision']!r} with the label {row['reader_label']!r}; expected "
                "accept or relabel with a label, or reject without one"
            )
        if row["path"] in answers:
            raise InvalidReview(f"{path}, line {number}: {row['path']} was answered above; remove one of the lines")
        answers[row["path"]] = Answer(row["reader_label"], row["blinded"].lower() == "true")
    readers = {row["reader"] for row in rows}
    if len(readers) > 1:
        raise InvalidReview(f"{path}: holds {len(readers)} readers; give a file for each")
    return Review(rows[0]["reader"], answers, {row["path"]: row["model_label"] for row in rows})


def agreements(reviews: Sequence[Review]) -> list[Agreement]:
    """Each reader against the model, then each two readers.

    Raises:
        InvalidReview: a reader appears twice, or the reviews are of different results.
    """
    names = [review.reader for review in reviews]
    twice = sorted({name for name in names if names.count(name) > 1} | ({MODEL} & set(names)))
    if twice:
        raise InvalidReview(f"two files of {twice[0]!r}; readers are told apart by their initials")
    model: dict[str, str] = {}
    for review in reviews:
        for path, label in review.model.items():
            if model.setdefault(path, label) != label:
                raise InvalidReview(f"{path}: {model[path]} in one review and {label} in another, of different runs")
    pairs = [agreement(review.reader, review.answers, MODEL, _as_answers(review.model)) for review in reviews]
    for one, other in combinations(reviews, 2):
        if set(one.answers) & set(other.answers):
            pairs.append(agreement(one.reader, one.answers, other.reader, other.answers))
    return pairs


def agreement(
    first: str, first_answers: Mapping[str, Answer], second: str, second_answers: Mapping[str, Answer]
) -> Agreement:
    """Agreement and kappa of two, over the cases that both answered.

    Args:
        first: name of the one.
        first_answers: by path.
        second: name of the other.
        second_answers: by path; at least one path in common.

    Source: J. Cohen, Educational and Psychological Measurement 1960. Intervals: percentile bootstrap of cases.
    """
    paths = [path for path in first_answers if path in second_answers]
    mine, theirs = ([answers[path].label for path in paths] for answers in (first_answers, second_answers))
    same = np.array([one == other != "" for one, other in zip(mine, theirs, strict=True)])
    labeled = [i for i, (one, other) in enumerate(zip(mine, theirs, strict=True)) if one and other]
    pairs = np.array([(mine[i], theirs[i]) for i in labeled], dtype=object).reshape(-1, 2)
    blinded = sum(first_answers[path].blinded or second_answers[path].blinded for path in paths)
    disputed = [
        (path, *pair)
        for path, pair, equal in zip(paths, zip(mine, theirs, strict=True), same, strict=True)
        if not equal
    ]
    value = kappa(pairs)
    return Agreement(
        first,
        second,
        len(paths),
        float(same.mean()),
        group_bootstrap(lambda drawn: float(same[drawn].mean()), range(len(same))),
        value,
        _kappa_interval(pairs) if value is not None else None,
        blinded,
        disputed,
    )


def kappa(pairs: np.ndarray) -> float | None:
    """Cohen's kappa of label pairs (N, 2); None if both always gave the same single label, or N is 0."""
    if len(set(pairs.ravel())) < 2:
        return None
    return float(cohen_kappa_score(pairs[:, 0].astype(str), pairs[:, 1].astype(str)))


def _kappa_interval(pairs: np.ndarray) -> Interval:
    """A resample in which all labels are the same counts as perfect agreement, which it is."""

    def of_drawn(drawn: np.ndarray) -> float:
        value = kappa(pairs[drawn])
        return 1.0 if value is None else value

    return group_bootstrap(of_drawn, range(len(pairs)))


def _as_answers(labels: Mapping[str, str]) -> dict[str, Answer]:
    return {path: Answer(label, False) for path, label in labels.items()}
