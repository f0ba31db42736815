"""Standard errors: the curvature of the likelihood, and NaN with a reason where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import statespace as ss


def dumb_errors(lds: ss.LDS, y: torch.Tensor, names: dict[str, tuple[str, tuple[int, ...]]]):
    """Second differences of the log-likelihood in the named entries themselves."""

    def value(point: np.ndarray) -> float:
        model = lds.replace()
        for (slot, index), v in zip(names.values(), point, strict=True):
            whole = model.slot(slot).value().detach().clone()
            whole[index] = v
            model.slot(slot).set_(whole)
        return float(model.log_likelihood(y).sum().detach())

    at = np.array([float(lds.slot(s).value()[i].detach()) for s, i in names.values()])
    h = 1e-3 * np.abs(at)
    k = len(at)
    hessian = np.zeros((k, k))
    for i in range(k):
        for j in range(k):
            a, b = np.eye(k)[i] * h[i], np.eye(k)[j] * h[j]
            corners = value(at + a + b) - value(at + a - b) - value(at - a + b) + value(at - a - b)
            hessian[i, j] = corners / (4 * h[i] * h[j])
    return dict(zip(names, np.sqrt(np.diag(np.linalg.inv(-hessian))), strict=True))


def test_nile_is_as_in_statsmodels():
    """statsmodels 0.14, UnobservedComponents(nile, "llevel", use_exact_diffuse=True),
    cov_type="approx": 3145.55 and 1280.35."""
    fit = ss.LDS.local_level().replace(R=None).fit(ss.datasets.nile(), seed=0)
    assert fit.standard_errors["R[0,0]"] == pytest.approx(3145.55, rel=1e-3)
    assert fit.standard_errors["Q[0,0]"] == pytest.approx(1280.35, rel=1e-3)
    assert not fit.standard_errors.reasons


def test_autoregression_with_noise_against_second_differences():
    """A, C, R and d of a model in which Q sets the units."""
    y = torch.log10(ss.datasets.lynx())
    lds = ss.LDS(
        1, 1, A=ss.Param(), C=ss.Param(), d=ss.Param(), Q=ss.Fixed([[1.0]]), initial="stationary"
    )
    fit = lds.fit(y, seed=0)
    names = {
        "A[0,0]": ("A", (0, 0)),
        "C[0,0]": ("C", (0, 0)),
        "d[0]": ("d", (0,)),
        "R[0,0]": ("R", (0, 0)),
    }
    if math.isnan(fit.standard_errors["R[0,0]"]):  # R at 0: compare the others given that
        names.pop("R[0,0]")
    wanted = dumb_errors(lds, y, names)
    for name in names:
        assert fit.standard_errors[name] == pytest.approx(wanted[name], rel=1e-2), name


def test_covariances_against_second_differences():
    """The delta method from the root of a full R to its entries."""
    true = ss.LDS(
        1,
        2,
        A=[[0.7]],
        C=[[1.0], [0.5]],
        Q=[[1.0]],
        R=[[0.5, 0.2], [0.2, 0.8]],
        initial="stationary",
    )
    y = true.sample(150, seed=0).y
    lds = ss.LDS(
        1,
        2,
        A=ss.Param([[0.7]]),
        C=ss.Fixed([[1.0], [0.5]]),
        d=ss.Fixed([0.0, 0.0]),
        Q=ss.Fixed([[1.0]]),
        initial="stationary",
    )
    fit = lds.fit(y, seed=0)
    found = fit.standard_errors
    names = {"A[0,0]": ("A", (0, 0)), "R[0,0]": ("R", (0, 0)), "R[1,1]": ("R", (1, 1))}

    def value(r: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        model = lds.replace(R=ss.Param(r), A=ss.Param(a))
        return model.log_likelihood(y).detach()

    # all four numbers, by hand: (A, R00, R10, R11)
    r, a = lds.R.detach(), lds.A.detach()
    at = np.array([float(a), *(float(r[i]) for i in ((0, 0), (1, 0), (1, 1)))])
    h = 2e-3 * np.abs(at)

    def log(p: np.ndarray) -> float:
        matrix = torch.tensor([[p[1], p[2]], [p[2], p[3]]], dtype=torch.float64)
        return float(value(matrix, torch.tensor([[p[0]]], dtype=torch.float64)))

    hessian = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            u, v = np.eye(4)[i] * h[i], np.eye(4)[j] * h[j]
            mixed = log(at + u + v) - log(at + u - v) - log(at - u + v) + log(at - u - v)
            hessian[i, j] = mixed / (4 * h[i] * h[j])
    wanted = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    for name, w in zip(("A[0,0]", "R[0,0]", "R[1,0]", "R[1,1]"), wanted, strict=True):
        assert found[name] == pytest.approx(w, rel=1e-2), name
    assert set(names) <= set(found)


def test_what_a_change_of_coordinates_moves_is_not_identified():
    """A, C and Q of a free LDS are NaN with the reason in words; d and R have standard errors."""
    true = ss.LDS(2, 3, seed=0)
    y = true.sample(60, (3,), seed=1).y
    lds = ss.LDS(2, 3, initial="stationary")
    fit = lds.fit(y, seed=0)
    errors = fit.standard_errors
    for name in ("A[0,0]", "C[1,1]", "Q[0,0]"):
        assert math.isnan(errors[name])
        assert "identify" in errors.reasons[name] or "boundary" in errors.reasons[name]
    for name in ("d[0]", "R[0,0]", "R[2,1]"):
        assert errors[name] > 0
    assert "No standard error for A" in fit.summary()


def test_units_scale_the_errors():
    """A thousand times the data, a thousand times the standard error of d, a million that of R."""
    y = ss.datasets.nile()
    fits = [
        ss.LDS(1, 1, A=ss.Param([[0.5]]), C=ss.Fixed([[1.0]]), d=ss.Param(), initial="stationary")
        .fit(c * y, seed=0)
        .standard_errors
        for c in (1.0, 1e3)
    ]
    for name, power in (("A[0,0]", 0), ("d[0]", 1), ("R[0,0]", 2)):
        assert fits[1][name] == pytest.approx(fits[0][name] * 1e3**power, rel=1e-3)


def test_the_model_is_given_back_and_changes_are_noticed():
    """Looking at the errors leaves the parameters alone, and does not follow later changes."""
    y = ss.datasets.nile()
    lds = ss.LDS.local_level().replace(R=None)
    fit = lds.fit(y, seed=0)
    lds.slot("R").set_([[1.0]])
    assert fit.standard_errors["R[0,0]"] == pytest.approx(3145.55, rel=1e-3)
    assert float(lds.R.detach()) == 1.0


def test_a_score_that_is_left_bends_no_flat_direction_into_a_standard_error():
    """C and Q trade units, a curve of equal likelihood; the polish ends at a score below 1e-4,
    and what it bends along the curve is no curvature: C would have an error of 45 times C."""
    fit = ss.LDS(1, 1).fit(ss.datasets.nile()[:80], seed=0)
    for name in ("C[0,0]", "Q[0,0]"):
        assert math.isnan(fit.standard_errors[name])
        assert "identify" in fit.standard_errors.reasons[name]
    for name in ("A[0,0]", "d[0]", "R[0,0]"):
        assert fit.standard_errors[name] > 0
