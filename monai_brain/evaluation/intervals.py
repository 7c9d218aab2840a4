"""Bootstrap intervals that respect groups: whole patients or clusters are drawn, not slices."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

DRAWS = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """A percentile bootstrap interval."""

    low: float
    high: float


def group_bootstrap(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[Hashable],
    *,
    strata: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of a statistic over resampled groups.

    Args:
        statistic: from the indices of the images drawn, (M,), to a number.
        groups: group per image, (N,); images of a group are drawn together.
        strata: class per image, (N,): every resample has as many groups of each class as the data, lest a class
            be missing by chance. A group counts as its first image's class.
        draws: number of resamples.
        seed: of the resampling.

    Source: A. C. Davison, D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8
    (cluster resampling). scipy.stats.bootstrap draws observations and knows no groups.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    by_stratum: dict[Hashable, list[np.ndarray]] = {}
    for indices in members.values():
        by_stratum.setdefault(strata[indices[0]] if strata is not None else None, []).append(np.array(indices))
    random = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        drawn = [own[i] for own in by_stratum.values() for i in random.integers(len(own), size=len(own))]
        values.append(statistic(np.concatenate(drawn)))
    tail = (1 - LEVEL) / 2
    return Interval(*(float(v) for v in np.quantile(values, [tail, 1 - tail])))


def quartiles(values: Sequence[float | None]) -> dict[str, Any]:
    """Number, median and quartiles of those values that are defined."""
    known = [value for value in values if value is not None]
    if not known:
        return {"number": 0, "median": None, "quartiles": None}
    low, middle, high = (float(value) for value in np.quantile(known, [0.25, 0.5, 0.75]))
    return {"number": len(known), "median": middle, "quartiles": [low, high]}
