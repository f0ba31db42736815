"""Whether a fit ends at the optimum: log-likelihoods of the same model, fitted by both."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

import statespace as ss

from .accuracy import FAILURES
from .problems import Array
from .table import GREEN, RED, table

_BOUND = 1e-3  # nats by which a fit may fall short


@dataclass(frozen=True)
class Fit:
    """One model in both languages.

    Attributes:
        peer: what `UnobservedComponents` is given, or `SARIMAX` where it names an order.
    """

    name: str
    y: Array
    model: ss.LDS
    peer: dict[str, Any]


def fits() -> Iterator[Fit]:
    """Every row of the table; all starts are exact diffuse or stationary."""
    yield Fit(
        "Nile: local level",
        ss.datasets.nile().numpy(),
        ss.LDS.local_level().replace(R=None),
        {"level": "llevel"},
    )
    yield Fit(
        "log air passengers: local trend and seasons",
        ss.datasets.air_passengers().log().numpy(),
        ss.LDS.local_trend() + ss.LDS.seasonal(12),
        {"level": "lltrend", "seasonal": 12},
    )
    belts = ss.datasets.uk_seatbelts(["drivers", "petrol_price", "law"])
    x = np.column_stack([belts[:, 1].log().numpy(), belts[:, 2].numpy()])
    yield Fit(
        "log UK drivers killed or injured: level, seasons, petrol price and law",
        belts[:, :1].log().numpy(),
        ss.LDS.local_level() + ss.LDS.seasonal(12) + ss.LDS.regression(columns=x),
        {"level": "llevel", "seasonal": 12, "exog": x, "mle_regression": False},
    )
    spots = ss.datasets.sunspots().numpy()
    spots = spots - spots.mean()
    yield Fit(
        "sunspots less their mean: ARMA(2, 1)", spots, ss.LDS.arma(2, 1), {"order": (2, 0, 1)}
    )
    yield Fit(
        "sunspots less their mean: damped cycle and noise",
        spots,
        ss.LDS.cycle().replace(R=None),
        {"cycle": True, "stochastic_cycle": True, "damped_cycle": True, "irregular": True},
    )


def run(absent: Mapping[str, str], say: Callable[[str], None], *, tiny: bool = False) -> str:
    """The table, of one row where `tiny`; or a line where statsmodels is among the absent."""
    if "statsmodels" in absent:
        return f"Not run: statsmodels is missing ({absent['statsmodels']})."
    rows = []
    for fit in islice(fits(), 1 if tiny else None):
        say(f"optimum: {fit.name}")
        theirs = _peer(fit)
        try:
            ours = float(fit.model.fit(fit.y, seed=0).log_likelihood)
        except FAILURES as problem:
            mark, numbers = RED, (type(problem).__name__, f"{theirs:.4f}", "")
        else:
            mark = GREEN if ours >= theirs - _BOUND else RED
            numbers = (f"{ours:.4f}", f"{theirs:.4f}", f"{ours - theirs:+.1e}")
        rows.append([mark, fit.name, str(fit.model.num_params), *numbers])
    header = ("", "series and model", "parameters", "statespace", "statsmodels", "difference")
    return table(header, rows)


def _peer(fit: Fit) -> float:
    """The best of L-BFGS, then Powell from there, then Nelder-Mead from there."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    from .libraries.statsmodels_ import components

    if "order" in fit.peer:
        model = SARIMAX(fit.y, **fit.peer)
    else:
        model = components(fit.y, **fit.peer)
    best, params = -math.inf, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on starting values and convergence
        for method in ("lbfgs", "powell", "nm"):
            options = {"disp": False, "cov_type": "none", "maxiter": 1000}
            out = model.fit(params, method=method, **options)
            if out.llf > best:
                best, params = float(out.llf), out.params
    return best
