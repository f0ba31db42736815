"""Smoothed states over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from statespace.errors import InputError, expected
from statespace.plot.canvas import (
    BAND,
    DATA,
    MEAN,
    OTHER,
    array,
    check_record,
    figure,
    legend_above,
    name_of_time,
    normal_quantile,
    one_series,
    ticks,
    tidy,
    time_along_x,
)
from statespace.results import Smoothed
from statespace.results.frames import names_of_y, row_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["smoothed"]


def smoothed(
    record: Smoothed,
    *,
    series: int = 0,
    C: Any = None,
    offset: Any = 0.0,
    states: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    level: float = 0.95,
) -> Figure:
    """The data, what was imputed for the missing entries, and the smoothed states with bands.

    Args:
        record: What `model.smooth(y)` returned.
        series: Which series of a batch.
        C: The emission matrix (m, n); with it the smoothed signal C z + offset is drawn over the
            data.
        offset: What else the signal holds: d, or d + D u_t as (T, m).
        states: Which states have a panel; all by default.
        names: What these states are called; z[0], z[1], ... by default.
        level: Probability of the bands.

    Raises:
        InputTypeError: this is another record.
        InputError: there is no such series or state, or the record has no Gaussian states.
    """
    check_record("record", record, Smoothed, "model.smooth(y)")
    one = one_series(record, series)
    if one.mean is None or one.stddev is None:
        raise InputError(
            expected(
                "record",
                "smoothed means and covariances",
                "probabilities of a discrete state",
                "Plot `probs` as they are.",
            )
        )
    states, names = _chosen(one.mean.shape[-1], states, names)
    labels = row_labels(one.index, one.mean.shape[-2])
    t, z = ticks(labels), normal_quantile(level)
    of_y = () if one.y_mean is None else names_of_y(one.index, _width(one), one.univariate)
    count = len(of_y) + len(states)
    fig, axes = figure(count, 1, (9.0, 1.0 + 2.0 * count), share_time=True)
    signal = None if C is None else _signal(one, C, offset)
    for i, (ax, name) in enumerate(zip(axes, of_y, strict=False)):
        _data(ax, t, one, i, signal, z)
        tidy(ax, str(name))
    for ax, i, name in zip(axes[len(of_y) :], states, names, strict=True):
        _band(ax, t, one.mean[:, i], one.stddev[:, i], z)
        tidy(ax, f"{name}  ·  mean and {level:.0%} band")
    time_along_x(axes[-1], t, name_of_time(labels))
    return fig


def _chosen(
    n: int, states: Sequence[int] | None, names: Sequence[str] | None
) -> tuple[list[int], list[str]]:
    chosen = list(range(n)) if states is None else list(states)
    if any(not 0 <= i < n for i in chosen):
        raise InputError(
            expected("states", f"numbers from 0 to {n - 1}", f"{chosen}", "Choose among them.")
        )
    called = [f"z[{i}]" for i in chosen] if names is None else list(names)
    if len(called) != len(chosen):
        raise InputError(
            expected("names", f"{len(chosen)} names", f"{len(called)}", "Name every state shown.")
        )
    return chosen, called


def _width(one: Smoothed) -> int:
    assert one.y_mean is not None
    return 1 if one.univariate else one.y_mean.shape[-1]


def _band(ax: Axes, t: Any, mean: Any, stddev: Any, z: float, label: str | None = None) -> None:
    mean, half = array(mean), z * array(stddev)  # where half is inf, no band is drawn
    ax.fill_between(t, mean - half, mean + half, color=BAND, alpha=0.2, linewidth=0)
    ax.plot(t, mean, color=MEAN, linewidth=1.4, label=label)


def _signal(one: Smoothed, C: Any, offset: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of C z + offset, (T, m)."""
    assert one.mean is not None
    assert one.cov is not None
    C = torch.as_tensor(C).detach().to(one.mean)
    spread = (C @ one.cov @ C.mT).diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    return one.mean @ C.mT + torch.as_tensor(offset).detach().to(one.mean), spread


def _data(ax: Axes, t: Any, one: Smoothed, i: int, signal: Any, z: float) -> None:
    y = array(one.y_mean).reshape(len(t), -1)[:, i]
    stddev = None if one.y_stddev is None else array(one.y_stddev).reshape(len(t), -1)[:, i]
    missing = (y != y) if stddev is None else stddev > 0
    if signal is not None:
        _band(ax, t, signal[0][:, i], signal[1][:, i], z, "smoothed signal")
    seen = y.copy()
    seen[missing] = float("nan")
    width = 0.7 if signal is None else 0.0  # where there is a signal, that is the line
    ax.plot(t, seen, color=DATA, linewidth=width, marker="o", markersize=2.5, label="data")
    if stddev is not None and missing.any():
        ax.errorbar(
            t[missing],
            y[missing],
            yerr=z * stddev[missing],
            color=OTHER,
            linestyle="none",
            marker="o",
            markersize=3,
            markerfacecolor="white",
            elinewidth=0.8,
            label="imputed",
        )
    legend_above(ax)
