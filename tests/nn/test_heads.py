"""Emission heads: densities in the units of the data, that begin at the level of the data.

Would catch: a Jacobian of the units forgotten, a floor in the wrong units, a mean over padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from statespace.densities import complete, observed_log_prob
from statespace.errors import InputError, InputTypeError
from statespace.nn import FAMILIES, Head, emission_head, mlp

F64 = torch.float64
OWN = {"categorical": {"num_categories": 3}, "mixture": {"num_components": 2}}


def head_of(family: str, m: int = 2, **how: Any) -> Any:
    torch.manual_seed(0)
    m = 1 if family == "categorical" else m
    head = emission_head(family, 4, m, dtype=F64, **OWN.get(family, {}), **how)
    with torch.no_grad():
        for p in head.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return head


def drawn(family: str, *shape: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    if family == "categorical":
        return torch.randint(3, (*shape, 1), generator=g)
    if family in ("bernoulli", "poisson"):
        return torch.randint(2, (*shape, 2), generator=g).double()
    return 5 + 3 * torch.randn(*shape, 2, dtype=F64, generator=g)


def softplus(x: Any) -> Any:
    return np.logaddexp(0, x)


def by_scipy(family: str, head: Any, x: torch.Tensor, y: torch.Tensor) -> float:
    """The log density written out, one x and one y."""
    eta, v = head.net(x).detach().numpy(), y.numpy()
    if family == "bernoulli":
        return float(stats.bernoulli.logpmf(v, 1 / (1 + np.exp(-eta))).sum())
    if family == "poisson":
        return float(stats.poisson.logpmf(v, np.exp(eta)).sum())
    if family == "categorical":
        return float(eta[v[0]] - np.log(np.exp(eta).sum()))
    shift, unit = head.units.shift.numpy(), head.units.scale.numpy()
    one = np.log(np.expm1(1 - head.min_scale))

    def placed(loc: Any, raw: Any) -> tuple[Any, Any]:
        return shift + unit * loc, unit * (head.min_scale + softplus(raw + one))

    if family == "mixture":
        logits, loc, raw = eta[:2], eta[2:6].reshape(2, 2), eta[6:].reshape(2, 2)
        each = stats.norm.logpdf(v, *placed(loc, raw)).sum(-1)
        return float(np.log(np.exp(logits - np.log(np.exp(logits).sum()) + each).sum()))
    if family.startswith("multivariate"):
        lower = head.triangle.detach().numpy()
        each = float(head.wide) * (head.min_scale + softplus(eta[2:] + one))
        root = np.diag(unit) @ lower @ np.diag(head.size.numpy() * each)
        loc, cov = shift + unit * eta[:2], root @ root.T
        if family == "multivariate_normal":
            return float(stats.multivariate_normal.logpdf(v, loc, cov))
        df = float(2 + softplus(head.raw_df.detach().numpy()))
        return float(stats.multivariate_t.logpdf(v, loc, cov * (df - 2) / df, df=df))
    loc, scale = placed(eta[:2], eta[2:])
    if family == "gaussian":
        return float(stats.norm.logpdf(v, loc, scale).sum())
    df = 2 + softplus(head.raw_df.detach().numpy())
    return float(stats.t.logpdf(v, df, loc, scale).sum())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_density_is_what_its_equation_says(family: str) -> None:
    """Against scipy, in the units of data far from zero, batched over any axes."""
    head = head_of(family)
    data = drawn(family, 50)
    if family not in ("bernoulli", "poisson", "categorical"):
        head.learn(data, torch.ones_like(data, dtype=torch.bool))
    x = torch.randn(3, 4, 4, dtype=F64, generator=torch.Generator().manual_seed(2))
    y = drawn(family, 3, 4)
    density = head(x)
    assert density.event_shape == y.shape[-1:]
    found = density.log_prob(y).detach()
    for i in range(3):
        for j in range(4):
            wanted = by_scipy(family, head, x[i, j], y[i, j])
            assert float(found[i, j]) == pytest.approx(wanted, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_entries_are_marginalised_and_drawn(family: str) -> None:
    """A part of a row, a whole row; what was observed stays."""
    head = head_of(family)
    x, y = torch.randn(6, 4, dtype=F64), drawn(family, 6)
    seen = torch.ones_like(y, dtype=torch.bool)
    seen[0], seen[1, 0] = False, False
    found = observed_log_prob(head(x), y, seen)
    whole = head(x).log_prob(y)
    assert torch.allclose(found[2:], whole[2:], rtol=1e-12)
    assert float(found[0].detach()) == 0
    filled = complete(head(x), y, seen)
    assert torch.equal(filled[seen], y[seen])
    assert filled.dtype == y.dtype


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_begins_at_the_level_of_the_data(family: str) -> None:
    """Features of zero give the frequencies, the mean, the spread of what was observed."""
    torch.manual_seed(0)
    m = 1 if family == "categorical" else 2
    head: Any = emission_head(family, 4, m, hidden=(3,), dtype=F64, **OWN.get(family, {}))
    nn.init.zeros_(head.net[0].bias)
    y = drawn(family, 40)
    seen = torch.ones_like(y, dtype=torch.bool)
    y[30:], seen[30:] = 1 if family == "categorical" else 1e6, False
    head.learn(y, seen)
    density, kept = head(torch.zeros(4, dtype=F64)), y[:30]
    if family == "categorical":
        counts = torch.bincount(kept[:, 0], minlength=3).double()
        assert torch.allclose(density.base_dist.probs[0], (counts + 0.5) / 31.5)
        return
    if family in ("bernoulli", "poisson"):
        wanted = (kept.sum(0) + 0.5) / 31
        assert torch.allclose(density.mean, wanted)
        return
    assert torch.allclose(density.mean, kept.mean(0))
    spread = kept.std(0, correction=0)
    if family == "gaussian":
        assert torch.allclose(density.stddev, spread)
    assert bool((density.variance.sqrt() < 2 * spread).all())


@pytest.mark.parametrize("family", ["gaussian", "student_t", "mixture"])
def test_the_floor_under_a_scale_is_in_units_of_the_data(family: str) -> None:
    """However far the network goes, a scale is not below a part of the spread of the data."""
    head = head_of(family, min_scale=0.05)
    y = drawn(family, 40)
    head.learn(y, torch.ones_like(y, dtype=torch.bool))
    with torch.no_grad():
        head.net[-1].weight.zero_()
        head.net[-1].bias.fill_(-1e4)
    density = head(torch.zeros(4, dtype=F64))
    inner = density.component_distribution if family == "mixture" else density
    scale = inner.base_dist.scale
    assert torch.allclose(scale, 0.05 * y.std(0, correction=0).expand(scale.shape))


def test_a_column_that_stands_still_has_a_unit() -> None:
    """No division by zero; and a column that was never observed."""
    head = head_of("gaussian")
    y = torch.tensor([[3.0, 0.0], [3.0, 0.0]], dtype=F64)
    head.learn(y, torch.tensor([[True, False], [True, False]]))
    assert head.units.shift.tolist() == [3.0, 0.0]
    assert head.units.scale.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("family", FAMILIES)
def test_single_precision(family: str) -> None:
    """No dtype leaks."""
    m = 1 if family == "categorical" else 2
    head: Any = emission_head(family, 4, m, **OWN.get(family, {}))
    y = drawn(family, 30)
    y = y if family == "categorical" else y.float()
    head.learn(y, torch.ones_like(y, dtype=torch.bool))
    density = head(torch.zeros(4))
    assert density.log_prob(y[0]).dtype == torch.float32


def test_wrong_arguments_are_refused() -> None:
    """By sentences: an unknown family, what a family has no use for, what it needs."""
    with pytest.raises(InputError, match='`family`: expected one of "gaussian"'):
        emission_head("gausian", 2, 1)
    with pytest.raises(InputError, match="none beside family='gaussian'"):
        emission_head("gaussian", 2, 1, num_categories=3)
    with pytest.raises(InputTypeError, match="`num_components`: expected a number"):
        emission_head("mixture", 2, 1)
    with pytest.raises(InputError, match="`obs_dim`: expected 1 for a categorical y"):
        emission_head("categorical", 2, 3, num_categories=3)
    with pytest.raises(InputError, match="`min_scale`"):
        emission_head("gaussian", 2, 1, min_scale=0.0)
    with pytest.raises(InputError, match="`activation`: expected one of"):
        mlp(2, 2, (3,), activation="swish")


def test_a_head_of_the_users_is_taken_as_it_is() -> None:
    """A Module whose call returns a Distribution."""
    mine = nn.Linear(2, 2)
    assert emission_head(mine, 2, 1) is mine
    assert not isinstance(mine, Head)


def test_entries_that_hang_together_begin_as_the_differences_do() -> None:
    """Proportional to the covariance of steps, and in all as wide as the series."""
    g = torch.Generator().manual_seed(3)
    root = torch.tensor([[1.0, 0.0], [0.9, 0.1]], dtype=F64)
    y = (torch.randn(4, 200, 2, dtype=F64, generator=g) @ root.T).cumsum(1)
    head = emission_head("multivariate_normal", 4, 2, dtype=F64, min_scale=1e-3)
    seen = torch.ones_like(y, dtype=torch.bool)
    seen[:, 50] = False
    head.learn(y, seen)
    cov = head(torch.zeros(4, dtype=F64)).covariance_matrix.detach()
    steps = torch.cat([y[:, 1:50] - y[:, :49], y[:, 52:] - y[:, 51:-1]], 1).flatten(0, 1)
    wanted = steps.T @ steps / len(steps)
    torch.testing.assert_close(cov / cov[0, 0], wanted / wanted[0, 0], rtol=1e-4, atol=1e-4)
    units = y[seen].reshape(-1, 2).std(0, correction=0)
    spread = (cov.diagonal() / units.square()).mean()
    assert float(spread) == pytest.approx(1, rel=1e-3)
