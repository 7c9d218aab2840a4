"""Bootstrap intervals that respect groups: whole patients or clusters are drawn, not slices."""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

DRAWS = 1000
LEVEL = 0.95


class Interval(NamedTuple):
    """A percentile bootstrap interval."""

    low: float
    high: float


def group_bootstrap(
    statistic: Callable[[np.ndarray], float], groups: Sequence[Hashable], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """95 % percentile interval of a statistic over resampled groups.

    Args:
        statistic: from the indices of the images drawn, (M,), to a number.
        groups: group per image, (N,); images of a group are drawn together.
        draws: number of resamples.
        seed: of the resampling.

    Source: A. C. Davison, D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8
    (cluster resampling). scipy.stats.bootstrap draws observations and knows no groups.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    clusters = [np.array(indices) for indices in members.values()]
    random = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([clusters[i] for i in random.integers(len(clusters), size=len(clusters))]))
        for _ in range(draws)
    ]
    tail = (1 - LEVEL) / 2
    return Interval(*(float(v) for v in np.quantile(values, [tail, 1 - tail])))
