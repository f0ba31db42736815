"""Units carry no information: y in other units moves log p(y) by a known number, and no more.

With y -> c y the offsets and effects of inputs go with c, the covariances with c^2, and

    log p(c y) = log p(y) - (N - d) log c,

N observed entries, d directions of a diffuse start that these resolve.

Would catch: an absolute jitter or tolerance, a rank decided in one unit, a diffuse constant that
counts directions which nothing has resolved.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cases import CASES, IDS, Case
from remade import COVARIANCES, remade

POWER = {"b": 1, "d": 1, "B": 1, "D": 1, "initial_mean": 1} | dict.fromkeys(COVARIANCES, 2)


def counted(case: Case) -> torch.Tensor:
    """N - d of each series, d the rank with which the observed entries see the diffuse states."""
    out = []
    for i, y in case.series():
        oracle = case.oracle(i, y)
        load = np.asarray(oracle.load)[oracle.T * oracle.n :][~np.isnan(y).reshape(-1)]
        out.append(len(load) - int(np.linalg.matrix_rank(load)))
    return torch.tensor(out, dtype=torch.float64).view(case.y.shape[:-2])


@pytest.mark.parametrize("c", [1e-8, 1e-4, 1e4, 1e8])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_likelihood_moves_by_the_units_alone(case: Case, c: float) -> None:
    """Exactly -(N - d) log c, to 1e-9; the filter's means by c, its covariances by c^2."""
    model, data = case.make(), case.data()
    scaled = remade(model, lambda name, value: c ** POWER.get(name, 0) * value)
    there = {**data, "y": c * data["y"]}
    one, two = model.filter(**data), scaled.filter(**there)
    expected = one.log_likelihood - counted(case) * math.log(c)
    assert torch.allclose(two.log_likelihood, expected, rtol=1e-9, atol=0.0)
    assert torch.allclose(scaled.log_likelihood(**there).detach(), expected, rtol=1e-9, atol=0.0)
    known = torch.isfinite(one.cov.diagonal(dim1=-2, dim2=-1))
    same = {"rtol": 1e-9, "atol": 1e-12}
    assert torch.allclose(two.mean[known] / c, one.mean[known], **same)
    assert torch.allclose(two.cov / c**2, one.cov, equal_nan=True, **same)


@pytest.mark.parametrize("power", [3, 6])
@pytest.mark.parametrize("case", [c for c in CASES if c.name != "one row, diffuse"],
                         ids=lambda c: c.name)  # fmt: skip
def test_states_may_have_units_of_their_own(case: Case, power: int) -> None:
    """One state in units of 10^-power and the next of 10^power: the same likelihood, but for the
    log of the units of diffuse states, whose flat density is in them."""
    model, data = case.make(), case.data()
    n = model.latent_dim
    s = 10.0 ** torch.tensor([power * (-1.0) ** j for j in range(n)], dtype=torch.float64)

    def change(name: str, value: torch.Tensor) -> torch.Tensor:
        if name in ("Q", "initial_cov"):
            return s[:, None] * value * s
        if name == "A":
            return s[:, None] * value / s
        if name == "B":
            return s[:, None] * value
        return value / s if name == "C" else s * value if name in ("b", "initial_mean") else value

    scaled = remade(model, change)
    gained = sum(math.log(float(v)) for v, k in zip(s, model.kinds, strict=True) if k == "diffuse")
    one, two = model.filter(**data), scaled.filter(**data)
    assert torch.allclose(two.log_likelihood, one.log_likelihood + gained, rtol=1e-8, atol=1e-8)
    known = torch.isfinite(one.cov.diagonal(dim1=-2, dim2=-1))
    assert (torch.isfinite(two.cov.diagonal(dim1=-2, dim2=-1)) == known).all()
    assert torch.allclose((two.mean / s)[known], one.mean[known], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("c", [1e-8, 1e8])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_gradient_moves_by_the_units_alone(case: Case, c: float) -> None:
    """d log p / d A stays, d log p / d Q goes with c^-2, d log p / d y with c^-1."""
    model, data = case.make(), case.data()
    found = []
    for unit in (1.0, c):
        leaves: dict[str, torch.Tensor] = {}

        def keep(name, value, unit=unit, leaves=leaves):
            leaves[name] = (unit ** POWER.get(name, 0) * value).requires_grad_()
            return leaves[name]

        y = (unit * data["y"]).requires_grad_()
        remade(model, keep).log_likelihood(**{**data, "y": y}).sum().backward()
        leaves["y"] = y
        powers = POWER | {"y": 1}
        found.append(
            {k: v.grad * unit ** powers.get(k, 0) for k, v in leaves.items() if v.grad is not None}
        )
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        bound = 1e-9 * max(1.0, float(grad.abs().max()))
        assert torch.allclose(found[1][name], grad, rtol=1e-7, atol=bound), name
