"""The gradient of log p(y) is its derivative, through everything that a model is made of.

Would catch: a graph cut between a slot and the core, a gradient summed over the wrong axis of what
varies in time or belongs to one series, inputs that reach one equation only, a root whose
derivative is that of its covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, IDS, Case
from remade import COVARIANCES, names_of, remade

import statespace as ss

STEP = 1e-4
BOUND = 1e-6


def slope(value: Callable[[float], float]) -> float:
    """The derivative at 0, by central differences of fourth order."""
    h = STEP
    return (value(-2 * h) - 8 * value(-h) + 8 * value(h) - value(2 * h)) / (12 * h)


def close(ours: float, numeric: float, scale: float) -> None:
    """Equal to rounding: `scale` is how large the log-likelihood itself is."""
    assert ours == pytest.approx(numeric, rel=BOUND, abs=BOUND * max(1.0, scale) * 1e-2)


def weights(case: Case) -> torch.Tensor:
    """One for each series, all different: what belongs to one may not end at another."""
    batch = case.y.shape[:-2]
    return torch.linspace(0.5, 2.0, max(1, int(np.prod(batch))), dtype=torch.float64).view(batch)


def direction(like: torch.Tensor, seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=g, dtype=like.dtype)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_learned_numbers(case: Case) -> None:
    """In theta of every slot: entries, and roots of covariances."""
    model, data, w = case.make(), case.data(), weights(case)
    total = (model.log_likelihood(**data) * w).sum()
    learned = dict(model.named_parameters())
    if not learned:
        pytest.skip("everything varies in time and is held: the next test")
    grads = torch.autograd.grad(total, list(learned.values()), allow_unused=True)
    for seed, (theta, grad) in enumerate(zip(learned.values(), grads, strict=True)):
        along, at = direction(theta, seed), theta.detach().clone()

        def value(h: float, theta=theta, along=along, at=at) -> float:
            with torch.no_grad():
                theta.copy_(at + h * along)
                found = float((model.log_likelihood(**data) * w).sum())
                theta.copy_(at)
            return found

        ours = 0.0 if grad is None else float((grad * along).sum())
        close(ours, slope(value), abs(float(total.detach())))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_held_values_inputs_and_data(case: Case) -> None:
    """In values given as Fixed and Varying (moments of z_1 too), in the inputs, and in y."""
    plain, data, w = case.make(), case.data(), weights(case)
    made = remade(plain, lambda _, v: v)
    leaves = {name: made.slots[name].value().detach().clone() for name in names_of(plain)}
    leaves |= {k: data[k].clone() for k in ("y", "inputs") if k in data}

    def total(values: dict[str, torch.Tensor]) -> torch.Tensor:
        model = remade(plain, lambda name, _: values[name])
        told = {**data, **{k: values[k] for k in ("y", "inputs") if k in values}}
        return (model.log_likelihood(**told) * w).sum()

    for leaf in leaves.values():
        leaf.requires_grad_()
    here = total(leaves)
    grads = torch.autograd.grad(here, list(leaves.values()), allow_unused=True)
    fixed = {k: v.detach() for k, v in leaves.items()}
    for seed, (name, grad) in enumerate(zip(leaves, grads, strict=True)):
        along = _feasible(name, direction(fixed[name], seed), plain)

        def value(h: float, name=name, along=along) -> float:
            moved: dict[str, Any] = {**fixed, name: fixed[name] + h * along}
            with torch.no_grad():
                return float(total(moved))

        ours = 0.0 if grad is None else float((grad * along).nan_to_num().sum())
        close(ours, slope(value), abs(float(here.detach())))


def _feasible(name: str, along: torch.Tensor, model: Any) -> torch.Tensor:
    """Along covariances: symmetric, and not where a diffuse start has no number."""
    if name not in COVARIANCES:
        return along
    along = 0.1 * (along + along.mT)
    if name == "initial_cov":
        proper = torch.tensor([k != "diffuse" for k in model.kinds], dtype=along.dtype)
        along = along * proper[:, None] * proper
    return along


@pytest.mark.parametrize("method", [None, ss.ParticleFilter(10)], ids=["exact", "particles"])
@pytest.mark.parametrize("verb", ["filter", "smooth", "forecast", "sample"])
def test_records_say_that_they_carry_no_gradient(verb: str, method: Any) -> None:
    """No field has a graph, so none is differentiated to a silent zero; the docstring says so."""
    model = ss.LDS(1, 1, seed=0)
    if verb == "sample":
        record = model.sample(5, seed=0)
    else:
        more = {"horizon": 2} if verb == "forecast" else {}
        record = getattr(model, verb)(torch.ones(5, 1), method=method, seed=0, **more)
    tensors = [v for v in vars(record).values() if isinstance(v, torch.Tensor)]
    assert tensors
    assert not any(v.requires_grad for v in tensors)
    assert "carries a gradient" in " ".join((type(record).__doc__ or "").split())
    assert model.log_likelihood(torch.ones(5, 1), method=method, seed=0).requires_grad
