"""Structural models are statsmodels': the same likelihood at any parameters, the same optimum.

Would catch: a state out of place in a sum, a diffuse constant miscounted, a tie that does not hold,
a learner that stops early.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from models.structural_reference import MODELS, log_drivers, log_passengers, regressors, spots

import statespace as ss

# Where statsmodels is best, found by structural_reference.py.
REFERENCE = {
    "nile, level": [15098.5185, 1469.175769],
    "passengers, trend and seasons": [
        0.0001295327861, 0.0006994126089, 4.746962163e-19, 6.412721398e-05,
    ],
    "drivers, level and seasons": [0.003513637318, 0.0009455036919, 8.230343856e-12],
    "drivers, with regressors": [
        0.004083960764, 0.0002236805153, 3.891410077e-12, -0.2816697437, -0.2358895002,
    ],
    "sunspots, cycle": [6.84398121e-10, 238.9581067, 0.5126482664, 0.9155847688],
    "sunspots, ARMA(2, 1)": [1.457126352, -0.7469605856, -0.1310321551, 270.9640524],
}  # fmt: skip

LDS = ss.LDS
OURS: dict[str, Callable[[], Any]] = {
    "nile, level": lambda: LDS.local_level().replace(R=None),
    "passengers, trend and seasons": lambda: LDS.local_trend() + LDS.seasonal(12),
    "drivers, level and seasons": lambda: LDS.local_level() + LDS.seasonal(12),
    "drivers, with regressors": lambda: (
        LDS.local_level() + LDS.seasonal(12) + LDS.regression(2)
    ),
    "sunspots, cycle": lambda: LDS.cycle().replace(R=None, initial="diffuse"),
    "sunspots, ARMA(2, 1)": lambda: LDS.arma(2, 1),
}  # fmt: skip


def data(name: str) -> dict[str, Any]:
    """Arguments of a verb."""
    if name.startswith("nile"):
        return {"y": ss.datasets.nile()}
    if name.startswith("passengers"):
        return {"y": torch.as_tensor(log_passengers())[:, None]}
    if name.startswith("sunspots"):
        return {"y": torch.as_tensor(spots())[:, None]}
    inputs = {"inputs": torch.as_tensor(regressors())} if "regressors" in name else {}
    return {"y": torch.as_tensor(log_drivers())[:, None], **inputs}


def put(name: str, model: Any, params: list[float]) -> None:
    """Sets our model from statsmodels' parameters."""
    n = model.latent_dim
    if name == "sunspots, ARMA(2, 1)":
        phi1, phi2, theta, variance = params
        model.slot("A").set_([[phi1, phi2], [1.0, 0.0]])
        model.slot("C").set_([[1.0, theta]])
        model.slot("Q").set_(torch.diag(torch.tensor([variance, 0.0])))
        return
    if name == "sunspots, cycle":
        noise, variance, angle, rho = params
        a, c = rho * math.cos(angle), rho * math.sin(angle)
        model.slot("A").set_([[a, c], [-c, a]])
        model.slot("Q").set_(variance * torch.eye(2))
        model.slot("R").set_([[noise]])
        return
    variances = params[1:4] if "trend" in name else params[1:3]
    q = torch.zeros(n, dtype=torch.float64)
    where = model.slot("Q").pattern.free.diagonal().nonzero()[:, 0]
    q[where] = torch.tensor(variances[: len(where)], dtype=torch.float64)
    model.slot("Q").set_(torch.diag(q))
    model.slot("R").set_([[params[0]]])
    if "regressors" in name:
        model.slot("D").set_([params[3:]])


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_the_same_likelihood(name: str, factor: float) -> None:
    """At the optimum and away from it, log p(y) is statsmodels' with the exact diffuse start."""
    params = [p if abs(p) < 2 and "sunspots" in name else factor * p for p in REFERENCE[name]]
    if "ARMA" not in name:
        params[0] = max(params[0], 1e-4)
    model = OURS[name]()
    put(name, model, params)
    ours = float(model.log_likelihood(**data(name)).detach())
    assert ours == pytest.approx(MODELS[name]().loglike(np.array(params)), abs=1e-5)


QUICK = ("nile, level", "sunspots, ARMA(2, 1)")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in OURS]
)
def test_the_same_optimum(name: str) -> None:
    """fit, from data alone, ends within 1e-3 of the best that statsmodels finds, or above it."""
    best = MODELS[name]().loglike(np.array(REFERENCE[name]))
    model = OURS[name]()
    fit = model.fit(**data(name), seed=0)
    ours = float(model.log_likelihood(**data(name)).detach())
    assert ours >= best - 1e-3, fit.summary()
    assert ours <= best + 0.5, "statsmodels' optimum is not the one it is compared with"
