"""How far gradients reach."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from statespace.diagnostics import GradientFlow
from statespace.errors import InputError, expected
from statespace.plot.canvas import (
    DATA,
    MEAN,
    MUTED,
    OTHER,
    array,
    check_record,
    count_along_x,
    figure,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_flow"]

_MOST = 20  # series drawn


def gradient_flow(flow: GradientFlow, *, factors: tuple[float, float] = (1e-6, 1e6)) -> Figure:
    """Norms of dz_t/dz_1 and of dz_T/dz_t over the rows, on a logarithmic axis.

    The broken line grows by the spectral radius at every step, as a linear model does in the long
    run; above it stands transient growth. Outside of the dotted lines gradients have vanished or
    exploded.

    Args:
        flow: What `diagnostics.gradient_flow` returned; of many series the first 20 are drawn.
        factors: Where gradients count as vanished and as exploded.

    Raises:
        InputTypeError: this is no gradient flow.
        InputError: factors that are no pair of rising positive numbers.
    """
    check_record("flow", flow, GradientFlow, "diagnostics.gradient_flow(model, y)")
    low, high = factors
    if not 0 < low < high:
        todo = "Give (1e-6, 1e6), say."
        raise InputError(expected("factors", "0 < first < second", f"{factors}", todo))
    rows = flow.log_norms.shape[-1]
    fig, axes = figure(1, 2, (9.0, 3.4))
    sides = (flow.log_norms, flow.log_norms_back)
    titles = (
        r"From the first row on  ·  $\|dz_t/dz_1\|$",
        r"Back from the last  ·  $\|dz_T/dz_t\|$",
    )
    slopes = array(flow.log_radius.reshape(-1))[:_MOST]
    t = np.arange(rows)
    for ax, norms, title in zip(axes, sides, titles, strict=True):
        lines = array(norms.reshape(-1, rows))[:_MOST] / math.log(10)
        for line, slope in zip(lines, slopes, strict=True):
            line[np.isneginf(line)] = np.nan
            color, width = (MEAN, 1.6) if len(lines) == 1 else (MUTED, 0.8)
            (norm,) = ax.plot(t, line, color=color, linewidth=width)
            steps = t if norms is flow.log_norms else (~np.isnan(line)).sum() - 1 - t
            line_of = slope * steps if np.isfinite(slope) else np.full(rows, np.nan)
            straight = np.where(np.isnan(line), np.nan, line_of / math.log(10))
            (radius,) = ax.plot(t, straight, color=OTHER, linewidth=0.9, linestyle=(0, (4, 3)))
        for factor in factors:
            level = math.log10(factor)
            ax.axhline(level, color=DATA, linewidth=0.7, linestyle=(0, (1, 3)))
        tidy(ax, title, "t", "log10 of the norm" if ax is axes[0] else "")
        count_along_x(ax)
    axes[1].legend([norm, radius], ["norm", "spectral radius"], frameon=False, fontsize="small")
    return fig
