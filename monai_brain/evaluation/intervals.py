"""Bootstrap intervals that resample whole patients or clusters, not slices."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import expit, logit

DRAWS = 1000
LEVEL = 0.95

FEWEST_GROUPS = 10
"""Fewer groups get no interval: they do not show how much patients differ."""

PSEUDO_GROUPS = 0.5
"""Added to a share's groups; chosen by simulation, docs/intervals.md."""

NO_INTERVAL = f"no interval below {FEWEST_GROUPS} groups"
"""For captions."""


class Interval(NamedTuple):
    """A 95% bootstrap interval."""

    low: float
    high: float


def draw_groups(groups: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each group is in each resample, (draws, groups)."""
    random = np.random.default_rng(seed)
    return random.multinomial(groups, np.full(groups, 1 / groups), size=draws)


def interval_of(
    estimate: float, resampled: np.ndarray, groups: int, *, share: bool = True, counted: bool = False
) -> Interval | None:
    """Interval from the spread of bootstrap resamples, also for few groups and shares near 1.

    Percentiles are too narrow there. A share gets half a pseudo-group, half of it correct, added to its groups, and its
    interval on the logit scale; docs/intervals.md measures the coverage.

    Args:
        estimate: from the data.
        resampled: from each resample, (draws,); NaN if undefined.
        groups: number of groups that the estimate is based on.
        share: the metric lies between 0 and 1; otherwise the interval is on the metric's own scale.
        counted: the metric is a share of correct cases, such as a sensitivity. The pseudo-group then widens the
            interval enough, and the normal quantile replaces Student's t.

    Returns:
        None for fewer than `FEWEST_GROUPS` groups.

    Source: E. L. Korn, B. I. Graubard, Analysis of Health Surveys, 1999 (logit intervals of clustered samples);
    A. Agresti, B. Coull, The American Statistician 1998 (pseudo-observations); T. Hesterberg, The American Statistician
    2015 (bootstrap standard error with n / (n - 1), and t).
    """
    if groups < FEWEST_GROUPS:
        return None
    variance = float(np.nanvar(resampled)) * groups / (groups - 1)
    quantile = float(stats.norm.ppf((1 + LEVEL) / 2) if counted else stats.t.ppf((1 + LEVEL) / 2, groups - 1))
    if not share:
        reach = quantile * variance**0.5
        return Interval(estimate - reach, estimate + reach)
    total = groups + PSEUDO_GROUPS
    center = (groups * estimate + PSEUDO_GROUPS / 2) / total
    variance = (groups**2 * variance + PSEUDO_GROUPS * (0.5 - center) ** 2) / total**2
    reach = quantile * variance**0.5 / (center * (1 - center))
    low, high = (float(expit(logit(center) + sign * reach)) for sign in (-1, 1))
    return Interval(min(low, estimate), max(high, estimate))


def group_bootstrap(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[Hashable],
    *,
    strata: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """95% percentile interval of a statistic over resampled groups.

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


def interval_over_groups(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[Hashable],
    *,
    strata: Sequence[Hashable] | None = None,
) -> list[float] | None:
    """Ends of `group_bootstrap`; None for fewer than `FEWEST_GROUPS` groups, or where each class has only one."""
    number = len(set(groups))
    classes = 0 if strata is None else len(set(strata))
    if number < FEWEST_GROUPS or number == classes:
        return None
    return list(group_bootstrap(statistic, groups, strata=strata))


def with_interval(value: float | None, interval: Sequence[float] | None, sign: str = "") -> str:
    """For people: `0.912 (0.870 to 0.941)`, or that there is no interval.

    Args:
        value: None: undefined.
        interval: its ends.
        sign: `+` shows that of positive numbers too.
    """
    if value is None:
        return "undefined"
    if interval is None:
        return f"{value:{sign}.3f} (no interval)"
    return f"{value:{sign}.3f} ({interval[0]:{sign}.3f} to {interval[1]:{sign}.3f})"


def quartiles(values: Sequence[float | None]) -> dict[str, Any]:
    """Number, median and quartiles of those values that are defined."""
    known = [value for value in values if value is not None]
    if not known:
        return {"number": 0, "median": None, "quartiles": None}
    low, middle, high = (float(value) for value in np.quantile(known, [0.25, 0.5, 0.75]))
    return {"number": len(known), "median": middle, "quartiles": [low, high]}
