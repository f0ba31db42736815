"""Makes the reference optima of `test_structural_statsmodels.py`: python structural_reference.py.

statsmodels' models are fitted from several starts with several optimisers, and the best is kept;
standard deviations are printed with the parameters because variances may end at zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import statsmodels.api as sm

import statespace as ss

Array = np.ndarray[Any, Any]


def series() -> dict[str, Array]:
    """The series, as both libraries read them."""
    belts = ss.datasets.uk_seatbelts()
    spots = np.asarray(ss.datasets.sunspots(), dtype=float)
    return {
        "nile": np.asarray(ss.datasets.nile(), dtype=float),
        "air": np.log(np.asarray(ss.datasets.air_passengers(), dtype=float)),
        "belts": np.asarray(belts, dtype=float),
        "spots": spots - spots.mean(),
    }
