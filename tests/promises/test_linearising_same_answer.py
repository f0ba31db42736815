"""However a nonlinear filter is asked, the answer is the same.

Would catch: a Jacobian that mixes series, padding that is linearised into an overflow, a state
that forgets where it stands, a forecast that begins at the filtered state, a gap that is filled in.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from nonlinear_cases import ALL, CASES, METHODS, Case, suits
from torch.distributions import Bernoulli, Independent, Poisson

import statespace as ss
from statespace.densities import GaussianRoot, rooted
from statespace.interface import Context

PAIRS = [(c, k) for c in CASES for k in ALL if suits(c, k)]
IDS = [f"{c.name}-{k}" for c, k in PAIRS]
pairs = pytest.mark.parametrize(("case", "kind"), PAIRS, ids=IDS)


def same(a: torch.Tensor, b: torch.Tensor, bound: float = 1e-9) -> None:
    assert a.shape == b.shape
    assert torch.allclose(a, b, rtol=bound, atol=bound, equal_nan=True)


def part(data: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    return {k: v[..., start:stop, :] for k, v in data.items()}


@pairs
def test_first_part_then_the_rest_and_step_by_step(case: Case, kind: str) -> None:
    """From the state of the first rows; and from that of each row."""
    if case.lengths is not None:
        pytest.skip("a series that ended does not go on")
    model, data, method = case.model(), case.data(), ALL[kind]
    whole = model.filter(**data, method=method)
    first = model.filter(**part(data, 0, 3), method=method)
    rest = model.filter(**part(data, 3, case.T), state=first.state)
    for name in ("mean", "predicted_mean", "y_mean", "innovations"):
        same(getattr(rest, name), getattr(whole, name)[..., 3:, :])
    same(rest.cov, whole.cov[..., 3:, :, :])
    same(rest.increments, whole.increments[..., 3:])
    if kind in METHODS:
        value = model.log_likelihood(**part(data, 3, case.T), state=first.state)
        same(value.detach(), rest.log_likelihood)
    s = model.smooth(**part(data, 3, case.T), state=first.state)
    assert s.mean.shape == rest.mean.shape
    if kind in METHODS and kind != "posterior":  # the others look at all of a path at once
        same(s.mean, model.smooth(**data, method=method).mean[..., 3:, :], 1e-8)
    state = model.start(case.y.shape[:-2], method=method)
    for t in range(case.T):
        u = data["inputs"][..., t, :] if "inputs" in data else None
        state, info = model.step(state, data["y"][..., t, :], u)
        same(info.increment, whole.increments[..., t])
        same(info.belief.mean, whole.mean[..., t, :])
        same(info.predicted.cov, whole.predicted_cov[..., t, :, :])


@pairs
def test_batched_is_looped(case: Case, kind: str) -> None:
    """A series in a batch, padded or not, is that series alone."""
    model, data, method = case.model(), case.data(), ALL[kind]
    smooth, record = model.smooth(**data, method=method), model.filter(**data, method=method)
    n = model.latent.size
    ends = record.state.belief.mean.reshape(-1, n), record.state.belief.cov.reshape(-1, n, n)
    for (y, u), s, f, end, cov in zip(case.series(), smooth, record, *ends, strict=True):
        alone = {"y": torch.as_tensor(y)}
        if u is not None:
            alone["inputs"] = torch.as_tensor(u)
        one, own = model.smooth(**alone, method=method), model.filter(**alone, method=method)
        for name in ("mean", "cov", "cross_cov", "y_mean", "y_cov", "log_likelihood"):
            same(getattr(s, name), getattr(one, name), 1e-8)
        for name in ("mean", "cov", "predicted_mean", "y_cov", "increments"):
            same(getattr(f, name), getattr(own, name))
        same(end, own.state.belief.mean)  # a series that is over stands at its own end
        same(cov, own.state.belief.cov)


@pairs
def test_one_row_ahead_is_an_unobserved_row(case: Case, kind: str) -> None:
    """A forecast of two rows, and the filter over two rows in which nothing is seen."""
    model, method = case.model(), ALL[kind]
    data = case.data()
    data.pop("lengths", None)
    u = {} if case.u is None else {"inputs": torch.as_tensor(case.u[..., : case.T + 2, :])}
    fc = model.forecast(**{**data, **u}, horizon=2, method=method, seed=0)
    y = torch.cat([data["y"], torch.full_like(data["y"][..., :2, :], torch.nan)], -2)
    f = model.filter(y=y, **u, method=method)
    same(fc.mean, f.y_mean[..., -2:, :])
    same(fc.cov, f.y_cov[..., -2:, :, :])
    same(fc.z_mean, f.mean[..., -2:, :])
    assert fc.kind == "approximate"
    assert torch.equal(f.increments[..., -2:], torch.zeros_like(f.increments[..., -2:]))
    assert torch.equal(fc.sample(3, seed=1), fc.sample(3, seed=1))


@pairs
def test_missing_is_marginalised(case: Case, kind: str) -> None:
    """One output never seen is a model without it, where noise and rule go entry by entry."""
    model, method = case.model(), ALL[kind]
    if model.obs_dim == 1:
        pytest.skip("one output")
    data = case.data()
    data["y"] = data["y"].clone()
    data["y"][..., 0] = torch.nan
    narrow = _without_first(model)
    less = {**data, "y": data["y"][..., 1:]}
    f, g = model.filter(**data, method=method), narrow.filter(**less, method=method)
    same(f.increments, g.increments)
    same(f.mean, g.mean)
    same(f.y_mean[..., 1:], g.y_mean)
    s, r = model.smooth(**data, method=method), narrow.smooth(**less, method=method)
    same(s.mean, r.mean, 1e-8)
    same(s.cov, r.cov, 1e-8)


def _without_first(model: Any) -> Any:
    """The same model without its first output."""

    class Narrow(type(model)):
        def emission(self, z: Any, ctx: Context) -> Any:
            law = super().emission(z, ctx)
            base = getattr(law, "base_dist", None)
            if isinstance(base, Bernoulli):
                return Independent(Bernoulli(logits=base.logits[..., 1:]), 1)
            if isinstance(base, Poisson):
                return Independent(Poisson(base.rate[..., 1:]), 1)
            mean, root = rooted(law)
            return GaussianRoot(mean[..., 1:], root[..., 1:, :])

    narrow = Narrow.__new__(Narrow)
    narrow.__dict__.update(model.__dict__)
    narrow.obs_dim = model.obs_dim - 1
    return narrow


@pairs
def test_float32(case: Case, kind: str) -> None:
    """The same numbers in single precision, to its precision."""
    double = case.model().log_likelihood(**case.data(), method=ALL[kind])
    model, data = case.model(torch.float32), case.data(torch.float32)
    single = model.log_likelihood(**data, method=ALL[kind])
    assert single.dtype == torch.float32
    assert np.allclose(single.detach(), double.detach(), rtol=2e-3, atol=2e-2)
    assert model.smooth(**data, method=ALL[kind]).cov.dtype == torch.float32


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("name", ["pendulum", "bearings"])
def test_angles_go_round(name: str, kind: str) -> None:
    """y and y + 2 pi are one observation."""
    case = next(c for c in CASES if c.name == name)
    model, data, method = case.model(), case.data(), ALL[kind]
    turned = {**data, "y": data["y"] + 2 * math.pi}
    a, b = model.filter(**data, method=method), model.filter(**turned, method=method)
    same(a.mean, b.mean)
    same(a.innovations, b.innovations)
    assert float(a.innovations.nan_to_num().abs().max()) <= math.pi + 1e-9
    s = model.smooth(**data, method=method)
    seen = ~data["y"].isnan()
    assert torch.equal(s.y_mean[seen], data["y"][seen])


def test_draws_have_the_moments_of_the_smoother() -> None:
    """Mean and covariance of 4000 joint draws, within six standard errors of each entry.

    False alarms: 6 sigma over some 60 entries, below 1e-6.
    """
    case = next(c for c in CASES if c.name == "tanh")
    model = case.model()
    s = model.smooth(**case.data(), method=ss.UnscentedKalman())
    draws = s.sample(4000, seed=0)
    spread = s.cov.diagonal(dim1=-2, dim2=-1)
    assert bool(((draws.mean(0) - s.mean).abs() < 6 * (spread / 4000).sqrt()).all())
    apart = draws - s.mean
    cross = torch.einsum("kti,ktj->tij", apart[:, 1:], apart[:, :-1]) / 4000
    bound = 6 * (2 * spread[1:, :, None] * spread[:-1, None, :] / 4000).sqrt()
    assert bool(((cross - s.cross_cov).abs() < bound).all())
