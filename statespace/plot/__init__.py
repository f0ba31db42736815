"""Figures of the records that verbs return.

Every function makes a matplotlib Figure of its own and returns it: `fig.savefig("name.png")`.
matplotlib is loaded at the first call; pyplot, its current figure and the style in use are not
touched.
"""

from __future__ import annotations

from statespace.plot.fan import forecast
from statespace.plot.fitting import fit_history
from statespace.plot.flow import gradient_flow
from statespace.plot.lineages import particles
from statespace.plot.models import comparison
from statespace.plot.residuals import diagnostics
from statespace.plot.states import smoothed
from statespace.plot.training import training

__all__ = [
    "comparison",
    "diagnostics",
    "fit_history",
    "forecast",
    "gradient_flow",
    "particles",
    "smoothed",
    "training",
]


def __dir__() -> list[str]:
    return __all__
