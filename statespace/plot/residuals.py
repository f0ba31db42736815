"""Four looks at the standardised innovations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from statespace.diagnostics import Diagnostics, diagnose
from statespace.errors import InputError, expected
from statespace.plot.canvas import (
    BAND,
    DATA,
    MEAN,
    MUTED,
    array,
    check_record,
    count_along_x,
    figure,
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

__all__ = ["diagnostics"]

_Z = 1.959963984540054  # 97.5 % of a standard normal lies below


def diagnostics(
    filtered: Filtered, *, series: int = 0, entry: int = 0, lags: int | None = None
) -> Figure:
    """Standardised innovations over time, their histogram, normal Q-Q plot and correlogram.

    If the model is right they look like independent standard normal draws: about one in twenty
    outside the dashed lines, no pattern over time, points on the diagonal, and autocorrelations
    inside the band. Each panel shows the p-value of the test that belongs to it.

    Args:
        filtered: What `model.filter(y)` returned.
        series: Which series of a batch.
        entry: Which entry of y.
        lags: How many autocorrelations; as in `statespace.diagnostics.diagnose` by default.

    Raises:
        InputTypeError: this is another record.
        InputError: there is no such series, entry or lag, or fewer than two innovations.
    """
    check_record("filtered", filtered, Filtered, "model.filter(y)")
    one = one_series(filtered, series)
    found = diagnose(one, lags=lags)
    if not 0 <= entry < len(found.names):
        raise InputError(
            expected("entry", f"from 0 to {len(found.names) - 1}", f"{entry}", "Choose another.")
        )
    if int(found.num_values[entry]) < 2:
        raise InputError(
            expected(
                "filtered",
                "at least 2 standardised innovations",
                f"{int(found.num_values[entry])}",
                "Filter a longer series, or choose another entry.",
            )
        )
    fig, (over_time, histogram, quantiles, correlogram) = figure(2, 2, (9.0, 6.0))
    e = array(found.standardised[..., entry])
    name = found.names[entry]
    fig.suptitle(f"Standardised innovations of {name}", x=0.01, ha="left")
    labels = row_labels(one.index, len(e))
    _over_time(over_time, ticks(labels), e, name_of_time(labels), _p(found, "H", entry))
    e = e[~_isnan(e)]
    _histogram(histogram, e)
    _quantiles(quantiles, e, _p(found, "Jarque-Bera", entry))
    _correlogram(correlogram, found, entry)
    return fig


def _over_time(ax: Axes, t: Any, e: Any, name: str, verdict: str) -> None:
    ax.axhline(0, color=MUTED, linewidth=0.8)
    for side in (-_Z, _Z):
        ax.axhline(side, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.plot(t, e, color=MEAN, linewidth=1.0, marker="o", markersize=2.2)
    tidy(ax, "Over time" + verdict, "", "standard deviations")
    time_along_x(ax, t, name)


def _histogram(ax: Axes, e: Any) -> None:
    reach = max(3.5, 1.05 * float(abs(e).max()))
    bins = min(max(round(3 * len(e) ** (1 / 3) * reach / 3.5), 8), 60)
    ax.hist(e, bins=bins, range=(-reach, reach), density=True, color=BAND, alpha=0.35)
    grid = torch.linspace(-reach, reach, 400, dtype=torch.float64)
    density = (-0.5 * grid.square()).exp() / math.sqrt(2 * math.pi)
    ax.plot(array(grid), array(density), color=DATA, linewidth=1.2, label="N(0, 1)")
    ax.legend(frameon=False, loc="upper right")
    tidy(ax, "Histogram", "standard deviations", "density")


def _quantiles(ax: Axes, e: Any, verdict: str) -> None:
    n = len(e)
    p = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    z = torch.special.ndtri(p)
    # An order statistic has standard error sqrt(p (1 - p) / n) / density, in large samples.
    half = _Z * (p * (1 - p) / n).sqrt() * (0.5 * z.square()).exp() * math.sqrt(2 * math.pi)
    ax.fill_between(array(z), array(z - half), array(z + half), color=MUTED, alpha=0.2, lw=0)
    ax.plot(array(z), array(z), color=DATA, linewidth=1.0)
    ax.plot(array(z), sorted(e), linestyle="none", marker="o", markersize=3, color=MEAN)
    tidy(ax, "Normal Q-Q" + verdict, "standard normal quantiles", "sample quantiles")


def _correlogram(ax: Axes, found: Diagnostics, entry: int) -> None:
    r = array(found.autocorrelations[1:, entry])
    bound = _Z / math.sqrt(int(found.num_values[entry]))
    ax.axhspan(-bound, bound, color=MUTED, alpha=0.2, linewidth=0)
    ax.axhline(0, color=MUTED, linewidth=0.8)
    at = range(1, found.lags + 1)
    ax.vlines(at, 0, r, color=MEAN, linewidth=2)
    ax.plot(at, r, linestyle="none", marker="o", markersize=4, color=MEAN)
    reach = min(1.0, max(2.2 * bound, 1.25 * float(abs(r[~_isnan(r)]).max(initial=0.0))))
    ax.set_ylim(-reach, reach)
    count_along_x(ax)
    tidy(ax, "Correlogram" + _p(found, "Ljung-Box", entry), "lag", "autocorrelation")


def _p(found: Diagnostics, test: str, entry: int) -> str:
    statistic, name = {
        "H": (found.heteroskedasticity, "equal variance"),
        "Jarque-Bera": (found.normality, "Jarque-Bera"),
        "Ljung-Box": (found.ljung_box, f"Ljung-Box({found.lags})"),
    }[test]
    p = float(statistic.p_value[entry])
    if math.isnan(p):
        return ""
    return f"  ·  {name}: p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def _isnan(x: Any) -> Any:
    return x != x
