"""However it is asked, the answer is the same: in parts, row by row, in a batch, padded, masked.

Would catch: padding that leaks into values, a state that forgets, a mask read as data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, IDS, Case

import statespace as ss

WHOLE = [c for c in CASES if c.lengths is None]
LONG = [c for c in WHOLE if c.T > 2]


def same(a: torch.Tensor, b: torch.Tensor, bound: float = 1e-9) -> None:
    assert a.shape == b.shape
    assert torch.allclose(a, b, rtol=bound, atol=bound, equal_nan=True)


def rows(data: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    return {k: v[..., start:stop, :] for k, v in data.items()}


@pytest.mark.parametrize("case", LONG, ids=lambda c: c.name)
@pytest.mark.parametrize("cut", [1, 4])
def test_first_part_then_the_rest(case: Case, cut: int) -> None:
    """Filtering two parts, the second from the state of the first, is filtering the whole."""
    model, data = case.make(), case.data()
    whole = model.filter(**data)
    first = model.filter(**rows(data, 0, cut))
    rest = model.filter(**rows(data, cut, case.T), state=first.state)
    same(first.log_likelihood + rest.log_likelihood, whole.log_likelihood)
    again = model.log_likelihood(**rows(data, cut, case.T), state=first.state)
    same(again.detach(), rest.log_likelihood)
    same(rest.increments, whole.increments[..., cut:])
    known = torch.isfinite(whole.cov.diagonal(dim1=-2, dim2=-1))[..., cut:, :]
    same(rest.mean[known], whole.mean[..., cut:, :][known])
    same(rest.cov[..., -1, :, :], whole.cov[..., -1, :, :])


@pytest.mark.parametrize("case", WHOLE, ids=lambda c: c.name)
def test_step_by_step(case: Case) -> None:
    """start and step give the rows of filter."""
    model, data = case.make(), case.data()
    whole = model.filter(**data)
    batch = case.y.shape[:-2]
    state = model.start(batch)
    for t in range(case.T):
        u = data["inputs"][..., t, :] if "inputs" in data else None
        state, info = model.step(state, data["y"][..., t, :], u)
        same(info.increment, whole.increments[..., t])
        known = torch.isfinite(whole.cov[..., t, :, :].diagonal(dim1=-2, dim2=-1))
        same(info.belief.mean[known], whole.mean[..., t, :][known])
        assert state.t == t + 1


@pytest.mark.parametrize("case", [c for c in CASES if c.y.ndim > 2], ids=lambda c: c.name)
def test_batched_is_looped(case: Case) -> None:
    """A series in a batch, padded or not, is that series alone."""
    if "many" in case.tags:
        pytest.skip("each series has a model of its own")
    model, data = case.make(), case.data()
    together = list(model.smooth(**data))
    for (i, y), s in zip(case.series(), together, strict=True):
        alone = {"y": torch.as_tensor(y)}
        if case.u is not None:
            u = case.u.reshape(-1, *case.u.shape[-2:])[i]
            alone["inputs"] = torch.as_tensor(u[: len(y)])
        one = model.smooth(**alone)
        same(s.log_likelihood, one.log_likelihood)
        known = torch.isfinite(one.cov.diagonal(dim1=-2, dim2=-1))
        same(s.mean[known], one.mean[known])
        same(s.cov, one.cov)


def test_ragged_series_cannot_go_on_where_parameters_vary() -> None:
    """Series that ended at different rows have no one next row of a Varying parameter."""
    case = next(c for c in CASES if c.name == "varying, inputs, ragged")
    model = case.make()
    with pytest.raises(ss.errors.InputError, match="state"):
        model.forecast(**{**case.data(), "inputs": torch.as_tensor(case.u)}, horizon=4)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_nan_is_mask(case: Case) -> None:
    """NaN, and any number under a False of the mask, are the same: not observed."""
    model, data = case.make(), case.data()
    y = data["y"]
    masked = {**data, "y": torch.where(y.isnan(), 1e30, y), "mask": ~y.isnan()}
    same(model.log_likelihood(**masked), model.log_likelihood(**data), 0.0)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_gradient_through_gaps_is_finite(case: Case) -> None:
    """Gradients in all parameters and in y are finite; zero where y was not observed."""
    model, data = case.make(), case.data()
    y = data["y"].clone().requires_grad_()
    model.log_likelihood(**{**data, "y": y}).sum().backward()
    assert bool(torch.isfinite(y.grad).all())
    assert bool((y.grad[y.isnan()] == 0).all())
    for name, p in model.named_parameters():
        assert p.grad is None or bool(torch.isfinite(p.grad).all()), name


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_float32(case: Case) -> None:
    """The same numbers in single precision, to its precision."""
    double = case.make().log_likelihood(**case.data())
    single = case.make(dtype=torch.float32).log_likelihood(**case.data(torch.float32))
    assert single.dtype == torch.float32
    assert np.allclose(single.detach(), double.detach(), rtol=1e-4, atol=1e-3)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_cuda(case: Case) -> None:
    """The same numbers on a GPU: likelihood, gradient, filter, smoother, forecast, draws."""
    here, there = case.make(), case.make().to("cuda")
    on_gpu = case.data(device="cuda")
    value = there.log_likelihood(**on_gpu)
    assert value.device.type == "cuda"
    expected = here.log_likelihood(**case.data())
    same(value.detach().cpu(), expected.detach())
    value.sum().backward()
    expected.sum().backward()
    for p, q in zip(there.parameters(), here.parameters(), strict=True):
        if q.grad is not None:
            same(p.grad.cpu(), q.grad, 1e-7)
    ours, theirs = here.smooth(**case.data()), there.smooth(**on_gpu)
    known = torch.isfinite(ours.cov.diagonal(dim1=-2, dim2=-1))
    same(theirs.mean.cpu()[known], ours.mean[known], 1e-8)
    if "diffuse" not in case.tags:
        assert theirs.sample(2, seed=0).device.type == "cuda"
