"""Models side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from statespace.comparison import Comparison, Entry
from statespace.plot.canvas import DATA, MEAN, MUTED, OTHER, check_record, figure, tidy
from statespace.results import KINDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison"]

_COLORS = dict(zip(KINDS, (MEAN, OTHER, DATA, MUTED), strict=True))
_SIGNS = {
    "=": "",
    "~": "~ ",
    ">=": "\N{GREATER-THAN OR EQUAL TO} ",
    "<=": "\N{LESS-THAN OR EQUAL TO} ",
}


def comparison(table: Comparison) -> Figure:
    """Scores, differences to the first model of the table, and errors of forecasts.

    One line per model in the order of the table, coloured by the kind of its number. Whiskers are
    two standard errors: of the method's random numbers beside scores, of paired rows beside
    differences. A difference across kinds carries its sign: "~" where nothing is known of it.

    Args:
        table: What `compare` returned.

    Raises:
        InputTypeError: this is something else.
    """
    check_record("table", table, Comparison, "compare(models, train, test)")
    entries = list(table)
    fig, (left, middle, right) = figure(1, 3, (10.5, 1.3 + 0.42 * len(entries)))
    lines = [-i for i in range(len(entries))]
    for line, entry in zip(lines, entries, strict=True):
        score, color = entry.score, _COLORS[entry.score.kind]
        _dot(left, score.per_step, line, score.stderr / max(score.n_steps, 1), color)
        _dot(right, entry.rmse, line, math.nan, color)
    _differences(middle, table, dict(zip((e.name for e in entries), lines, strict=True)))
    tidy(left, "log p(test) per step", "nats")
    tidy(middle, f"less that of {entries[0].name}", "nats per step")
    ahead = f"{table.horizon} row{'s' * (table.horizon > 1)} ahead"
    tidy(right, f"RMSE of forecasts {ahead}", "units of y")
    left.set_yticks(lines, [entry.name for entry in entries])
    for ax in (middle, right):
        ax.set_yticks(lines, [""] * len(entries))
    for ax in (left, middle, right):
        ax.set_ylim(lines[-1] - 0.6, 0.6)
        ax.tick_params(axis="y", length=0)
        ax.margins(x=0.12)
        ax.grid(axis="y", color=MUTED, alpha=0.25, linewidth=0.6)
    _legend(fig, entries)
    return fig


def _differences(ax: Axes, table: Comparison, lines: dict[str, int]) -> None:
    ax.axvline(0, color=MUTED, linewidth=0.8)
    for name, found in table.differences().items():
        _dot(ax, found.value, lines[name], found.stderr, _COLORS[table[name].score.kind])
        text = f"{_SIGNS[found.relation]}{found.value:+.3f}"
        ax.annotate(
            text, (found.value, lines[name]), (0, 5), textcoords="offset points",
            ha="center", va="bottom", fontsize="x-small",
        )  # fmt: skip


def _dot(ax: Axes, x: float, line: float, stderr: float, color: str) -> None:
    """A number, with two standard errors where it has any."""
    if math.isfinite(x):
        width = 2 * stderr if math.isfinite(stderr) else 0.0
        style: dict[str, Any] = {"color": color, "elinewidth": 1.4, "capsize": 0}
        ax.errorbar([x], [line], xerr=[width], fmt="o", ms=5, **style)


def _legend(fig: Figure, entries: list[Entry]) -> None:
    from matplotlib.lines import Line2D

    kinds = [kind for kind in KINDS if any(e.score.kind == kind for e in entries)]
    dots = [Line2D([], [], marker="o", linestyle="", color=_COLORS[k], label=k) for k in kinds]
    fig.legend(handles=dots, loc="outside lower center", ncols=len(kinds), frameon=False)
