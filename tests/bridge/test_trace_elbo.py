"""Pyro's `Trace_ELBO` of a deep model and its guide is `Variational`, number for number.

Both draw z_1 .. z_T from the guide in this order, so that with one seed they look at one path.
"""

from __future__ import annotations

from typing import Any

import pyro
import pytest
import torch
from deep_cases import CASES
from pyro.infer import Trace_ELBO
from torch import Tensor

import statespace as ss

# Pyro refuses what is missing where the memory reads it: nothing there is a density of a program.
SERVED = [
    c
    for c in CASES
    if "latent" in c.tags
    and not ("y" in c.make().reads and (c.mask is not None or bool(c.y.isnan().any())))
]
IDS = [c.name for c in SERVED]
KINDS = {"DeepKalmanFilter", "LSTMStateSpace", "VRNN", "SRNN"}
SEED = 11


@pytest.fixture(autouse=True)
def fresh():
    pyro.clear_param_store()
    with torch.random.fork_rng():
        yield
    pyro.clear_param_store()


def given(case: Any) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
    """y, the inputs, and the rest by name."""
    data = case.data()
    return data.pop("y"), data.pop("inputs", None), data


def theirs(model: Any, case: Any, **how: Any) -> Tensor:
    """Pyro's bound, summed over series, differentiable."""
    y, u, rest = given(case)
    torch.manual_seed(SEED)
    program, guide = ss.pyro.model(model), ss.pyro.guide(model)
    return -Trace_ELBO(**how).differentiable_loss(program, guide, y, u, **rest)


def ours(model: Any, case: Any, num_samples: int = 1) -> Tensor:
    """The same by `Variational`."""
    y, u, rest = given(case)
    method = ss.Variational(num_samples, kl="sampled")
    return model.log_likelihood(y, u, **rest, method=method, seed=SEED).sum()


def test_every_deep_model_is_among_them() -> None:
    """Ragged, with gaps, with inputs: each of the four has its rows."""
    assert {tag for c in SERVED for tag in c.tags} >= KINDS
    assert any(c.lengths is not None for c in SERVED)
    assert any(bool(c.y.isnan().any()) for c in SERVED)


@pytest.mark.parametrize("case", SERVED, ids=IDS)
def test_one_draw_one_number(case: Any) -> None:
    """`Trace_ELBO().loss` to 1e-10, and what an update would follow."""
    model = case.make()
    y, u, rest = given(case)
    torch.manual_seed(SEED)
    loss = Trace_ELBO().loss(ss.pyro.model(model), ss.pyro.guide(model), y, u, **rest)
    found = ours(model, case)
    assert -loss == pytest.approx(float(found.detach()), rel=0, abs=1e-10)

    weights = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(found, weights, allow_unused=True)
    wanted = torch.autograd.grad(theirs(model, case), weights, allow_unused=True)
    for a, b in zip(slopes, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", SERVED, ids=IDS)
def test_many_draws_side_by_side(case: Any) -> None:
    """Pyro's vectorised particles are our samples: seven paths, their average."""
    model = case.make()
    axes = case.y.dim() - 2
    bound = theirs(model, case, num_particles=7, vectorize_particles=True, max_plate_nesting=axes)
    assert torch.allclose(bound, ours(model, case, 7), rtol=0, atol=1e-10)


def test_another_seed_is_another_number() -> None:
    """The agreement is not that of a bound without noise."""
    model, case = SERVED[0].make(), SERVED[0]
    y, u, rest = given(case)
    other = model.log_likelihood(y, u, **rest, method=ss.Variational(kl="sampled"), seed=SEED + 1)
    assert abs(float(other.detach()) - float(ours(model, case).detach())) > 1e-3
