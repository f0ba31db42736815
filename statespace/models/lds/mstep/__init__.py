"""The M-step of the LDS: expected sufficient statistics, and the parameters that maximise them.

`docs/em.md` says which route each parameter takes.
"""

from statespace.models.lds.mstep.maximise import exact, maximise, routes
from statespace.models.lds.mstep.moments import Moments
from statespace.models.lds.mstep.statistics import statistics

__all__ = ["Moments", "exact", "maximise", "routes", "statistics"]
