"""statsmodels' side of `test_structural_statsmodels.py`: models, data, and the best optimum found.

Run as a script, it fits each model from several starts with two optimisers and prints the best
parameters; the test holds them as numbers, and evaluates statsmodels' likelihood there anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from statsmodels.tsa.statespace.sarimax import SARIMAX
from statsmodels.tsa.statespace.structural import UnobservedComponents

import statespace as ss

Array = np.ndarray[Any, Any]


def log_drivers() -> Array:
    """Log of car drivers killed or seriously injured, (192,)."""
    return np.log(ss.datasets.uk_seatbelts("drivers").numpy()[:, 0])


def regressors() -> Array:
    """Log petrol price and the law, (192, 2)."""
    x = ss.datasets.uk_seatbelts(["petrol_price", "law"]).numpy()
    return np.stack([np.log(x[:, 0]), x[:, 1]], -1)


def spots() -> Array:
    """Sunspot numbers about their mean, (289,)."""
    y = ss.datasets.sunspots().numpy()[:, 0]
    return y - y.mean()


def log_passengers() -> Array:
    """Log of air passengers, (144,)."""
    return np.log(ss.datasets.air_passengers().numpy()[:, 0])


def components(y: Array, kind: Any, **kwargs: Any) -> Any:
    """An unobserved components model with the exact diffuse start."""
    return UnobservedComponents(y, kind, use_exact_diffuse=True, **kwargs)


MODELS: dict[str, Callable[[], Any]] = {
    "nile, level": lambda: components(ss.datasets.nile().numpy()[:, 0], "llevel"),
    "passengers, trend and seasons": lambda: components(log_passengers(), "lltrend", seasonal=12),
    "drivers, level and seasons": lambda: components(log_drivers(), "llevel", seasonal=12),
    "drivers, with regressors": lambda: components(
        log_drivers(), "llevel", seasonal=12, exog=regressors()
    ),
    "sunspots, cycle": lambda: components(
        spots(), False, irregular=True, cycle=True, stochastic_cycle=True, damped_cycle=True,
        cycle_period_bounds=(2.5, 50),
    ),
    "sunspots, ARMA(2, 1)": lambda: SARIMAX(spots(), order=(2, 0, 1)),
}  # fmt: skip


def optimum(name: str, tries: int = 4) -> tuple[float, Array]:
    """The best log-likelihood found, and where."""
    model = MODELS[name]()
    random = np.random.default_rng(0)
    base = model.untransform_params(model.start_params)
    best, where = -np.inf, base
    for i in range(tries):
        start = model.transform_params(base + (i > 0) * random.standard_normal(base.shape))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for how in ("lbfgs", "powell"):
                fit = model.fit(start, method=how, maxiter=2000, disp=False)
                if fit.llf > best:
                    best, where = fit.llf, fit.params
                fit = model.fit(where, method="lbfgs", maxiter=2000, disp=False, pgtol=1e-9)
                if fit.llf > best:
                    best, where = fit.llf, fit.params
    return float(best), np.asarray(where)


if __name__ == "__main__":
    for key in MODELS:
        value, params = optimum(key)
        print(f"    {key!r}: {[float(f'{p:.10g}') for p in params]},  # {value:.6f}")
