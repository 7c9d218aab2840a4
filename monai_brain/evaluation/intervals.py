"""Bootstrap intervals that resample whole patients or clusters, not slices."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

DRAWS = 1000
LEVEL = 0.95

FEWEST_GROUPS = 10
"""Fewer groups get no interval: they do not show how much patients differ."""

NO_INTERVAL = f"no interval below {FEWEST_GROUPS} groups"
"""For captions."""


class Interval(NamedTuple):
    """A 95 % bootstrap interval."""

    low: float
    high: float


def draw_groups(groups: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each group is in each resample, (draws, groups)."""
    random = np.random.default_rng(seed)
    return random.multinomial(groups, np.full(groups, 1 / groups), size=draws)


def interval_of(estimate: float, resampled: np.ndarray, groups: int, *, share: bool = True) -> Interval | None:
    """Interval from the spread of resamples, wide enough also for few groups and shares near 1.

    The percentiles of the resamples are too narrow there. The resamples' standard deviation, on the logit scale and
    with Student's t, is not; docs/intervals.md measures its coverage.

    Args:
        estimate: of the data.
        resampled: of each resample, (draws,); NaN where it is undefined.
        groups: that the estimate rests on.
        share: it lies between 0 and 1; else its own scale is taken.

    Returns:
        None for fewer than `FEWEST_GROUPS` groups. Where every resample is 0 or 1, the exact binomial interval of so
        many groups that are all right, or all wrong.

    Source: E. L. Korn, B. I. Graubard, Analysis of Health Surveys, 1999 (logit intervals of clustered samples);
    T. Hesterberg, The American Statistician 2015 (bootstrap standard error with t and n / (n - 1)).
    """
    if groups < FEWEST_GROUPS:
        return None
    error = float(np.nanstd(resampled)) * np.sqrt(groups / (groups - 1))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, groups - 1)) * error
    if not share:
        return Interval(estimate - reach, estimate + reach)
    if estimate in (0, 1) or not error:
        widest = float(((1 - LEVEL) / 2) ** (1 / groups))
        return Interval(min(widest, estimate), 1.0) if estimate > 0.5 else Interval(0.0, max(1 - widest, estimate))
    center, slope = np.log(estimate / (1 - estimate)), estimate * (1 - estimate)
    return Interval(*(float(1 / (1 + np.exp(-(center + sign * reach / slope)))) for sign in (-1, 1)))


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
