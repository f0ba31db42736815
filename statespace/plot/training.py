"""How training went: scores, the guide's divergence, gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from statespace.errors import InputError, expected
from statespace.plot.canvas import (
    DATA,
    MEAN,
    MUTED,
    OTHER,
    check_record,
    count_along_x,
    figure,
    legend_above,
    tidy,
)
from statespace.results import FitResult, TrainingRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["training"]


def training(fit: FitResult) -> Figure:
    """The records of a fit over its updates.

    Above what was climbed and the score of the held-out data, below the divergence of the guide
    from the prior, of each entry of z in grey, and at the bottom the norm of the gradient. Where
    there is no guide the panel in the middle is left out. The early values of the first panel are
    cut off if they would flatten the rest.

    Args:
        fit: What `model.fit(y, learner=Gradient(...))` returned.

    Raises:
        InputTypeError: this is no result of a fit.
        InputError: it has no records.
    """
    check_record("fit", fit, FitResult, "model.fit(y)")
    if not fit.records:
        todo = "Fit with Gradient, which keeps them, or look at plot.fit_history(fit)."
        raise InputError(expected("fit", "a fit with records", "one without", todo))
    guided = [r for r in fit.records if not math.isnan(r.kl)]
    rows = 3 if guided else 2
    fig, axes = figure(rows, 1, (7.5, 1.0 + 2.1 * rows), share_time=True)
    _scores(axes[0], fit)
    if guided:
        _divergence(axes[1], guided)
    steps = [r.step for r in fit.records]
    axes[-1].plot(steps, [r.gradient_norm for r in fit.records], color=MEAN, linewidth=1.2)
    axes[-1].set_yscale("log")
    tidy(axes[-1], "Gradient, before clipping", "update", "norm")
    count_along_x(axes[-1])
    return fig


def _scores(ax: Axes, fit: FitResult) -> None:
    steps = [r.step for r in fit.records]
    lines = {"objective": ([r.objective for r in fit.records], MEAN)}
    held_out = [r.validation for r in fit.records]
    if not all(math.isnan(v) for v in held_out):
        lines["held-out score"] = (held_out, OTHER)
        best = max((r for r in fit.records if not math.isnan(r.validation)), key=_score)
        ax.plot([best.step], [best.validation], "o", color=OTHER, markersize=5)
    for name, (values, color) in lines.items():
        ax.plot(steps, values, color=color, linewidth=1.4, label=name)
    finite = sorted(v for values, _ in lines.values() for v in values if math.isfinite(v))
    if len(finite) > 4:
        top, middle = finite[-1], finite[len(finite) // 2]
        if top - finite[0] > 8 * (top - middle) > 0:
            ax.set_ylim(top - 6 * (top - middle), top + 0.4 * (top - middle))
    tidy(ax, "Per observed value", "", "nats")
    if len(lines) > 1:
        legend_above(ax)


def _score(record: TrainingRecord) -> float:
    return record.validation


def _divergence(ax: Axes, records: list[TrainingRecord]) -> None:
    steps = [r.step for r in records]
    for entry in zip(*(r.kl_per_dim for r in records), strict=False):
        ax.plot(steps, entry, color=MUTED, linewidth=0.7)
    ax.plot(steps, [r.kl for r in records], color=DATA, linewidth=1.4)
    units = records[-1].active_units
    said = "" if units is None else f"  ·  {units} of {len(records[-1].kl_per_dim)} entries used"
    ax.set_yscale("symlog", linthresh=0.01)
    tidy(ax, "KL of the guide from the prior, and of each entry of z" + said, "", "nats per row")
