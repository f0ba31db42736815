"""How a fit went."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from statespace.plot.canvas import DATA, MEAN, MUTED, check_record, count_along_x, figure, tidy
from statespace.results import FitResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fit_history"]


def fit_history(fit: FitResult) -> Figure:
    """The objective after each iteration, and how far each iteration was from the best.

    The first panel leaves out early values that are so low that they would flatten the rest.
    The second panel has a logarithmic axis: a straight line is convergence at a constant rate, a
    level that ends above zero is a start that led to a poorer optimum.

    Args:
        fit: What `model.fit(y)` returned; its other starts are drawn in grey.

    Raises:
        InputTypeError: this is no result of a fit.
    """
    check_record("fit", fit, FitResult, "model.fit(y)")
    fig, (left, right) = figure(1, 2, (9.0, 3.4))
    runs = [(h, MUTED, 0.8) for h in fit.restarts] + [(fit.history, MEAN, 1.6)]
    finite = [v for h, _, _ in runs for v in h if math.isfinite(v)]
    best = max(finite, default=0.0)
    for history, color, width in runs:
        steps = range(1, len(history) + 1)
        marker = "o" if len(history) < 40 else ""
        style: dict[str, Any] = {"color": color, "linewidth": width, "marker": marker, "ms": 3}
        left.plot(steps, history, **style)
        gaps = [best - v if best - v > 0 else math.nan for v in history]
        right.plot(steps, gaps, **style)
    gap = sorted(best - v for v in finite)
    if gap and gap[-1] > 20 * gap[len(gap) // 2] > 0:
        reach = 8 * gap[len(gap) // 2]
        left.set_ylim(best - reach, best + 0.05 * reach)
    left.axhline(best, color=DATA, linewidth=0.7, linestyle=(0, (4, 3)))
    ended = "converged" if fit.converged else "not converged"
    tidy(left, f"Objective  ·  best {best:.6g}, {ended}", "iteration", "objective (nats)")
    if any(best - v > 0 for v in finite):
        right.set_yscale("log")
    tidy(right, "Distance to the best", "iteration", "nats")
    if fit.restarts:
        one_of_each = [left.lines[0], left.lines[len(fit.restarts)]]
        left.legend(one_of_each, ["other starts", "the fit"], frameon=False, loc="lower right")
    for ax in (left, right):
        count_along_x(ax)
    return fig
