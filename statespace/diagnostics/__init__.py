"""Is the model right? Questions asked of its one-step-ahead errors.

If a linear-Gaussian model is right, its standardised innovations are independent standard normal
draws. `diagnose` asks a filtered record three questions about that: are they uncorrelated
(`ljung_box`), normal (`jarque_bera`), and of one variance (`heteroskedasticity`)? Each question
is also a function of plain tensors.

And how far do gradients reach? `gradient_flow` follows the products of Jacobians along a path.
"""

from __future__ import annotations

from statespace.diagnostics.checks import (
    Statistic,
    autocorrelations,
    heteroskedasticity,
    jarque_bera,
    ljung_box,
)
from statespace.diagnostics.flow import GradientFlow, gradient_flow
from statespace.diagnostics.innovations import standardise
from statespace.diagnostics.report import Diagnostics, diagnose

__all__ = [
    "Diagnostics",
    "GradientFlow",
    "Statistic",
    "autocorrelations",
    "diagnose",
    "gradient_flow",
    "heteroskedasticity",
    "jarque_bera",
    "ljung_box",
    "standardise",
]
