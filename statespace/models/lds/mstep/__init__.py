"""The M-step of the LDS: expected sufficient statistics, and the parameters that maximise them.

`docs/em.md` says which route each parameter takes.
"""

from statespace.models.lds.mstep.maximise import exact, maximise, routes, set_noise, update
from statespace.models.lds.mstep.moments import Moments, start_moments
from statespace.models.lds.mstep.statistics import (
    Posterior,
    posterior_of,
    readout_moments,
    statistics,
)

__all__ = [
    "Moments",
    "Posterior",
    "exact",
    "maximise",
    "posterior_of",
    "readout_moments",
    "routes",
    "set_noise",
    "start_moments",
    "statistics",
    "update",
]
