"""The gradient of a linearised log-likelihood is its derivative, points of linearisation included.

Would catch: a Jacobian without a graph, a point that was detached, a root whose derivative is NaN
where a state is known, padding that is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nonlinear_cases import ALL, CASES, METHODS, WHOLE, Case

from statespace.errors import DerivativeError

STEP = 1e-4
PAIRS = [(c, k) for c in CASES for k in METHODS]
# over whole paths: not where noise is singular
PAIRS += [(c, "laplace") for c in CASES if "singular" not in c.tags]
PAIRS += [(c, "path") for c in CASES if not c.tags & {"singular", "counts"}]
pairs = pytest.mark.parametrize(
    ("case", "kind"), PAIRS, ids=[f"{c.name}-{k}" for c, k in PAIRS]
)  # fmt: skip


def slope(value: Callable[[float], float], h: float = STEP) -> float:
    """The derivative at 0, by central differences of fourth order."""
    return (value(-2 * h) - 8 * value(-h) + 8 * value(h) - value(2 * h)) / (12 * h)


def weights(model: Any, case: Case) -> torch.Tensor:
    """One for each series, all different: what belongs to one may not end at another."""
    batch = case.y.shape[:-2]
    return torch.linspace(0.5, 2.0, max(1, torch.Size(batch).numel())).double().view(batch)


def check(case: Case, method: Any, bound: float = 1e-6) -> None:
    model, data = case.model(), case.data()
    w = weights(model, case)

    def total() -> torch.Tensor:
        return (model.log_likelihood(**data, method=method) * w).sum()

    learned = dict(model.named_parameters())
    here = total()
    grads = torch.autograd.grad(here, list(learned.values()), allow_unused=True)
    for seed, ((name, theta), grad) in enumerate(zip(learned.items(), grads, strict=True)):
        g = torch.Generator().manual_seed(seed)
        along = torch.randn(theta.shape, generator=g, dtype=theta.dtype)
        if "singular" in case.tags and name in ("S1", "SQ"):
            along = along * (theta != 0)  # what has no variance keeps none
        at = theta.detach().clone()

        def value(h: float, theta=theta, along=along, at=at) -> float:
            with torch.no_grad():
                theta.copy_(at + h * along)
                found = float(total())
                theta.copy_(at)
            return found

        ours = 0.0 if grad is None else float((grad * along).sum())
        scale = max(1.0, abs(float(here.detach())))
        assert ours == pytest.approx(slope(value), rel=bound, abs=bound * scale), name


@pairs
def test_learned_numbers(case: Case, kind: str) -> None:
    """Along a random direction in each parameter."""
    check(case, ALL[kind])


@pairs
def test_data_and_inputs(case: Case, kind: str) -> None:
    """In y and in inputs; zero where y was not observed."""
    if "counts" in case.tags:
        pytest.skip("y are whole numbers")
    model, data, w = case.model(), case.data(), None
    w = weights(model, case)
    leaves = {k: v.clone().requires_grad_() for k, v in data.items() if k != "lengths"}
    told = {**data, **leaves}
    total = (model.log_likelihood(**told, method=ALL[kind]) * w).sum()
    grads = torch.autograd.grad(total, list(leaves.values()))
    assert bool((grads[0][data["y"].isnan()] == 0).all())
    for seed, (name, grad) in enumerate(zip(leaves, grads, strict=True)):
        g = torch.Generator().manual_seed(seed)
        along = torch.randn(grad.shape, generator=g, dtype=grad.dtype)

        def value(h: float, name=name, along=along) -> float:
            moved = {**data, name: data[name] + h * along}
            with torch.no_grad():
                return float((model.log_likelihood(**moved, method=ALL[kind]) * w).sum())

        ours = float((grad * along).sum())
        assert ours == pytest.approx(slope(value), rel=1e-6, abs=1e-5), name


def test_records_carry_no_gradient() -> None:
    """filter and smooth are without a graph, also where they linearise by autograd."""
    case = CASES[0]
    for record in (case.model().filter(**case.data()), case.model().smooth(**case.data())):
        tensors = [v for v in vars(record).values() if isinstance(v, torch.Tensor)]
        assert tensors
        assert not any(v.requires_grad for v in tensors)


def test_no_gradient_is_no_silent_one() -> None:
    """Where the path is no differentiable maximum, the value is there; its derivative refuses."""
    case = next(c for c in CASES if "singular" in c.tags)
    value = case.model().log_likelihood(**case.data(), method=WHOLE["path"])
    assert bool(torch.isfinite(value).all())
    with pytest.raises(DerivativeError, match="ExtendedKalman"):
        value.sum().backward()
