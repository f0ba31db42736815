"""Forecasts as a fan after the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
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
from statespace.results import Forecast
from statespace.results.frames import names_of_y, row_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["forecast"]


def forecast(
    record: Forecast,
    y: Any = None,
    *,
    actual: Any = None,
    series: int = 0,
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    last: int | None = None,
) -> Figure:
    """A fan of forecast intervals after the data, one panel for each entry of y.

    Args:
        record: What `model.forecast(y, horizon=h)` returned.
        y: The data before it, (T, m) or (T,).
        actual: What came then, (h, m) or (h,), to be compared.
        series: Which series of a batch; `y` and `actual` are of this series.
        levels: Probabilities of the central intervals.
        last: How many rows of `y` are shown; all by default.

    Raises:
        InputTypeError: this is another record.
        InputError: there is no such series, or rows do not fit.
        MethodError: the forecast has no quantiles.
    """
    check_record("record", record, Forecast, "model.forecast(y, horizon=h)")
    one = one_series(record, series)
    for level in levels:
        normal_quantile(level)
    h = one.horizon
    median = array(one.quantile(0.5)).reshape(h, -1)
    fan = [array(torch.stack(one.interval(v))).reshape(2, h, -1) for v in sorted(levels)[::-1]]
    m = median.shape[-1]
    past = None if y is None else _rows("y", y, m)
    after = None if actual is None else _rows("actual", actual, m)
    past_t, t, time = _axis(one, h, 0 if past is None else len(past))
    if past is not None:
        keep = len(past) if last is None else min(last, len(past))
        past, past_t = past[len(past) - keep :], past_t[len(past) - keep :]
    fig, axes = figure(m, 1, (9.0, 1.0 + 2.6 * m), share_time=True)
    names = names_of_y(one.index, m, one.univariate or m == 1)
    for i, ax in enumerate(axes):
        for k, (level, ends) in enumerate(zip(sorted(levels)[::-1], fan, strict=True)):
            low, high = ends[:, :, i]
            _interval(ax, t, low, high, 0.12 + 0.1 * k, f"{level:.0%}")
        point = "o" if h == 1 else ""
        ax.plot(t, median[:, i], color=MEAN, linewidth=1.6, marker=point, label="median")
        if past is not None:
            ax.plot(past_t, past[:, i], color=DATA, lw=0.9, marker="o", ms=2.2, label="data")
        if after is not None:
            shown = after[:h, i]
            ax.plot(t[: len(shown)], shown, color=OTHER, lw=0.9, marker="o", ms=3, label="actual")
        tidy(ax, f"Forecast of {names[i]}, {h} row{'s' * (h > 1)} ahead")
        legend_above(ax)
    time_along_x(axes[-1], t, time)
    return fig


def _interval(ax: Axes, t: Any, low: Any, high: Any, shade: float, label: str) -> None:
    if len(t) == 1:  # a band of one row has no width
        ax.vlines(t, low, high, color=BAND, alpha=shade, linewidth=8, label=label)
    else:
        ax.fill_between(t, low, high, color=BAND, alpha=shade, linewidth=0, label=label)


def _rows(name: str, y: Any, m: int) -> Any:
    """(T, m), from (T, m) or, for one entry, (T,)."""
    y = array(y)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.shape[-1] != m:
        raise InputError(
            expected(name, f"shape (T, {m}), one series", f"{y.shape}", "Choose the series first.")
        )
    return y


def _axis(one: Forecast, h: int, past: int) -> tuple[Any, Any, str]:
    """Where the rows of the data and of the forecast stand, and the name of that axis."""
    start = past if one.start is None or not int(one.start) else int(one.start)
    ahead = row_labels(one.index, h, True, start)
    if one.index is None or one.index.times is None:
        before = np.arange(start - past, start)
        return before, ticks(ahead), "t"
    before, after = ticks(one.index.times[0]), ticks(ahead)
    if len(before) != past and past:
        raise InputError(
            expected("y", f"{len(before)} rows, the data forecast from", f"{past}", "Give these.")
        )
    if before.dtype.kind != after.dtype.kind or not after[0] > before[-1]:
        before, after = np.arange(-past, 0), np.arange(h)  # no common scale
        return before, after, "rows from the start of the forecast"
    return before, after, name_of_time(one.index.times[0])
