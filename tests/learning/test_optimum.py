"""EM and polish end where statsmodels' best optimiser ends, or above it.

The model is an autoregression of order p observed with noise, about a level,

    y_t = d + x_t + v_t,    x_t = phi_1 x_{t-1} + .. + phi_p x_{t-p} + w_t,

which statsmodels writes as UnobservedComponents(y, exog=ones, autoregressive=p, irregular=True),
with a stationary start. The numbers are the highest log-likelihoods that its optimisers lbfgs, nm
and powell found from their own start values, each continued by lbfgs (statsmodels 0.14.6);
`reference` computes them again.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import statespace as ss

SERIES = {
    "nile": ss.datasets.nile,
    "sunspots": ss.datasets.sunspots,
    "lynx": lambda: torch.log10(ss.datasets.lynx()),
    "passengers": lambda: torch.log(ss.datasets.air_passengers()),
}
BEST = {
    ("nile", 1): -637.03878, ("nile", 3): -636.05487,
    ("sunspots", 1): -1312.35661, ("sunspots", 2): -1220.30128, ("sunspots", 3): -1220.21123,
    ("lynx", 1): -39.05643, ("lynx", 2): 7.04514, ("lynx", 3): 7.31629,
    ("passengers", 1): 117.06546, ("passengers", 2): 120.64137, ("passengers", 3): 124.69111,
}  # fmt: skip


def reference(name: str, order: int) -> float:
    """statsmodels' best."""
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    y = SERIES[name]().numpy()
    model = UnobservedComponents(y, exog=np.ones_like(y), autoregressive=order, irregular=True)
    best = -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for method in ("lbfgs", "nm", "powell"):
            first = model.fit(disp=0, method=method, maxiter=3000)
            best = max(best, first.llf, model.fit(first.params, disp=0, maxiter=3000).llf)
    return float(best)


def autoregression(order: int) -> ss.LDS:
    """The companion form; only its first row, and the noise that drives it, are learned."""
    shift = torch.zeros(order, order)
    shift[1:, :-1] = torch.eye(order - 1)
    first = torch.zeros(order, order, dtype=torch.bool)
    first[0] = True
    read = torch.zeros(1, order)
    read[0, 0] = 1.0
    corner = torch.zeros(order, order, dtype=torch.bool)
    corner[0, 0] = True
    return ss.LDS(
        order,
        1,
        A=ss.Param(shift, free=first, start=False),
        C=ss.Fixed(read),
        d=ss.Param(),
        Q=ss.Param(free=corner),
        initial="stationary",
    )


@pytest.mark.parametrize(("name", "order"), BEST)
def test_autoregressions_with_noise(name: str, order: int):
    """Within 1e-3 of the best, or above it, and said to have converged."""
    fit = autoregression(order).fit(SERIES[name](), seed=0)
    assert fit.converged, fit.reason
    assert fit.log_likelihood >= BEST[name, order] - 1e-3
    assert fit.log_likelihood <= BEST[name, order] + 0.5, "not the model that it is compared with"


PLAIN = [("nile", 1), ("sunspots", 1), ("sunspots", 2), ("lynx", 2), ("passengers", 1)]


@pytest.mark.parametrize(
    ("name", "n"), [*PLAIN, *(pytest.param(*k, marks=pytest.mark.slow) for k in BEST
                              if k not in PLAIN)]
)  # fmt: skip
def test_plain_models(name: str, n: int):
    """LDS(n, 1), nothing said but a stationary start: it holds the autoregression of order n with
    noise among its own, so it ends where that one ends, or above; with n = 1 it is the same."""
    lds = ss.LDS(n, 1, initial="stationary")
    fit = lds.fit(SERIES[name](), seed=0)
    assert fit.log_likelihood >= BEST[name, n] - 1e-3, fit.reason
    if n == 1:
        assert fit.converged, fit.reason
        assert fit.log_likelihood <= BEST[name, n] + 1e-3
    assert float(lds.log_likelihood(SERIES[name]()).detach()) == pytest.approx(fit.log_likelihood)


def test_the_reference_is_what_statsmodels_says():
    """One of the numbers, computed again."""
    assert reference("nile", 1) == pytest.approx(BEST["nile", 1], abs=1e-4)
