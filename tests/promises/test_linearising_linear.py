"""A linear model has one answer: that of the Kalman filter, whichever rule makes it linear.

Would catch: a rule that is not exact for lines, a posterior that is linearised from itself, noise
counted twice, a system of rows shifted by one.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import CASES, IDS, Case
from nonlinear_cases import ALL, METHODS
from nonlinear_cases import CASES as NONLINEAR

import statespace as ss
from statespace.interface import GaussianLatent

PROPER = [c for c in CASES if "diffuse" not in c.tags]


class Unsaid(GaussianLatent):
    """The densities of a model, without what it says about itself."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.latent, self.obs_dim, self.input_dim = model.latent, model.obs_dim, model.input_dim

    def initial(self, ctx: Any) -> Any:
        return self.model.initial(ctx)

    def transition(self, z: Any, ctx: Any) -> Any:
        return self.model.transition(z, ctx)

    def emission(self, z: Any, ctx: Any) -> Any:
        return self.model.emission(z, ctx)

    @property
    def batch_shape(self) -> Any:
        return self.model.batch_shape

    def default_method(self) -> Any:
        return ss.ExtendedKalman()

    def default_learner(self) -> Any:
        raise NotImplementedError


def same(a: torch.Tensor, b: torch.Tensor, bound: float = 1e-9) -> None:
    assert a.shape == b.shape
    assert torch.allclose(a, b, rtol=bound, atol=bound, equal_nan=True)


def ahead(case: Case) -> dict[str, Any]:
    data = case.data()
    return data if case.u is None else {**data, "inputs": torch.as_tensor(case.u)}


@pytest.mark.parametrize("method", ALL.values(), ids=ALL.keys())
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_of_a_model_that_says_so(case: Case, method: Any) -> None:
    """Likelihood, filter, smoother, forecast, one step; diffuse starts included; kind exact."""
    model, data = case.make(), case.data()
    f, k = model.filter(**data, method=method), model.filter(**data)
    assert f.kind == "exact"
    known = torch.isfinite(k.cov.diagonal(dim1=-2, dim2=-1))
    same(f.increments, k.increments)
    same(f.mean[known], k.mean[known])
    same(model.log_likelihood(**data, method=method), model.log_likelihood(**data))
    s = model.smooth(**data, method=method)
    same(s.cov, model.smooth(**data).cov)
    assert s.kind == "exact"
    if case.lengths is None or "varying" not in case.tags:
        a, b = (model.forecast(**ahead(case), horizon=4, method=m) for m in (method, None))
        same(a.cov, b.cov)
    state, info = model.step(model.start(case.y.shape[:-2], method=method), data["y"][..., 0, :],
                             data["inputs"][..., 0, :] if "inputs" in data else None)  # fmt: skip
    same(info.increment, f.increments[..., 0])
    assert state.t == 1


@pytest.mark.parametrize("method", ALL.values(), ids=ALL.keys())
@pytest.mark.parametrize("case", PROPER, ids=lambda c: c.name)
def test_of_its_densities_alone(case: Case, method: Any) -> None:
    """The same from the three densities, through the loop that linearises every row."""
    model, data = case.make(), case.data()
    plain = Unsaid(model)
    f, k = plain.filter(**data, method=method), model.filter(**data)
    assert f.kind == "approximate"
    for name in ("mean", "cov", "predicted_mean", "predicted_cov", "y_mean", "y_cov",
                 "increments", "innovations", "log_likelihood"):  # fmt: skip
        same(getattr(f, name), getattr(k, name), 1e-8)
    s, r = plain.smooth(**data, method=method), model.smooth(**data)
    for name in ("mean", "cov", "cross_cov", "y_mean", "y_cov", "log_likelihood"):
        same(getattr(s, name), getattr(r, name), 1e-8)
    if case.lengths is None or "varying" not in case.tags:
        a, b = (m.forecast(**ahead(case), horizon=4) for m in (plain, model))
        for name in ("mean", "cov", "z_mean", "z_cov"):
            same(getattr(a, name), getattr(b, name), 1e-8)


def test_gradient_is_that_of_kalman() -> None:
    """Through the loop of the densities, as through the core."""
    case = next(c for c in CASES if c.name == "a batch, ragged, gaps, inputs")
    model, data = case.make(), case.data()
    grads = []
    for thing in (model, Unsaid(model)):
        total = thing.log_likelihood(**data).sum()
        grads.append(torch.autograd.grad(total, list(model.parameters()), allow_unused=True))
    for a, b in zip(*grads, strict=True):
        if a is not None or b is not None:
            same(a, b, 1e-8)


def test_linear_case_of_the_nonlinear_table_is_linear() -> None:
    """Guards the table: every rule gives one number there."""
    case = next(c for c in NONLINEAR if "linear" in c.tags)
    model, data = case.model(), case.data()
    values = [model.log_likelihood(**data, method=m).detach() for m in METHODS.values()]
    for value in values[1:]:
        same(value, values[0])
