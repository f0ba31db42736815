"""How particles fared: their effective number, and the lineages of those that are left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from statespace.errors import InputError, expected
from statespace.plot.canvas import (
    DATA,
    MEAN,
    MUTED,
    OTHER,
    array,
    check_record,
    figure,
    legend_above,
    name_of_time,
    one_series,
    ticks,
    tidy,
    time_along_x,
)
from statespace.results import Filtered
from statespace.results.frames import row_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["particles"]

_LINES = 100  # lineages that are drawn: more of them only darken the recent rows


def particles(record: Filtered, *, series: int = 0, entry: int = 0) -> Figure:
    """The effective sample size over time, and where the last particles come from.

    Lineages run together as one looks back: rows at which few are left are described by as many
    points, however many particles there were. Rows at which particles were selected anew are
    marked on the axis of the first panel; a row at which all weights were lost has a line.

    Args:
        record: What `model.filter(y, method=ParticleFilter(...))` returned.
        series: Which series of a batch.
        entry: Which entry of z has its lineages drawn.

    Raises:
        InputTypeError: this is another record.
        InputError: no particles stand behind it, or they were not held; there is no such series
            or entry.
    """
    verb = "model.filter(y, method=ParticleFilter(...))"
    check_record("record", record, Filtered, verb)
    one = one_series(record, series)
    ancestors, values = (vars(one).get(name) for name in ("ancestors", "particles"))
    if one.ess is None or ancestors is None or values is None:
        words = "a record that holds particles"
        todo = f'Give what {verb} returns with keep="all", for fewer series if they are too many.'
        raise InputError(expected("record", words, "one without", todo))
    if not 0 <= entry < values.shape[-1]:
        wanted = f"from 0 to {values.shape[-1] - 1}"
        raise InputError(expected("entry", wanted, f"{entry}", "Choose another."))
    start = 0 if one.start is None else int(one.start)
    labels = row_labels(one.index, len(one.ess), start=start)
    t = ticks(labels)
    fig, (above, below) = figure(2, 1, (9.0, 5.6), share_time=True)
    ancestors = ancestors.numpy()
    _sizes(above, t, array(one.ess), ancestors)
    lost = int(one.lost) - start
    if 0 <= lost < len(t):
        above.axvline(t[lost], color=OTHER, linewidth=1.2, label="all weights lost")
    legend_above(above)
    _lineages(below, t, array(values[..., entry]), ancestors)
    if one.mean is not None:
        below.plot(t, array(one.mean[:, entry]), color=MEAN, linewidth=1.6, label="filtered mean")
        legend_above(below)
    tidy(below, f"Lineages of the last particles  ·  z[{entry}]")
    time_along_x(below, t, name_of_time(labels))
    return fig


def _sizes(ax: Axes, t: Any, ess: Any, ancestors: Any) -> None:
    """The effective sample size, and marks where particles were selected."""
    num = ancestors.shape[-1]
    ax.plot(t, ess, color=MEAN, linewidth=1.2, label="effective sample size")
    ax.axhline(num, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), label="particles")
    selected = (ancestors != np.arange(num)).any(-1)
    if selected.any():
        style: dict[str, Any] = {"linestyle": "none", "marker": "|", "ms": 5, "color": DATA}
        ax.plot(t[selected], np.zeros(int(selected.sum())), **style, label="resampled")
    ax.set_ylim(-0.03 * num, 1.08 * num)
    tidy(ax, f"Effective sample size of {num} particles")


def _lineages(ax: Axes, t: Any, values: Any, ancestors: Any) -> None:
    """Paths of some of the last particles, back to the first row; shared parts are drawn once."""
    num = ancestors.shape[-1]
    k = np.unique(np.linspace(0, num - 1, min(num, _LINES)).round().astype(int))
    ends: list[Any] = []
    for row in range(len(t) - 1, 0, -1):
        parents = ancestors[row][k]
        rows = np.broadcast_to([[row - 1], [row], [0]], (3, len(k)))
        gap = np.full(len(k), np.nan)  # lifts the pen
        ends.append((rows, np.stack([values[row - 1][parents], values[row][k], gap])))
        k = np.unique(parents)
    if not ends:
        ax.plot(t, values[:, k], color=MUTED, linestyle="none", marker=".", ms=2)
        return
    at, points = (np.concatenate([x[i].T.ravel() for x in ends]) for i in (0, 1))
    ax.plot(t[at], points, color=MUTED, linewidth=0.6, alpha=0.7, label="lineages")
