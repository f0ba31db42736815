"""One bad series does not poison a batch: the others have the values and gradients they had alone.

Would catch: a maximum over the batch that turns NaN, a -inf whose zero weight makes NaN, a repair
or a fall-back to another path that changes its neighbours.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, IDS, Case

import statespace as ss
from statespace.errors import InputError

SAME = {"rtol": 1e-10, "atol": 1e-10}


def exact() -> Any:
    """A level that is seen without noise and never moves: a second value contradicts the first."""
    one, nil = [[1.0]], [[0.0]]
    return ss.LDS(
        1, 2, A=one, C=[[1.0], [1.0]], Q=ss.Fixed(nil),
        R=ss.Param([[0.0, 0.0], [0.0, 1.0]], free=[[False, False], [False, True]]),
        initial_mean=[0.0], initial_cov=one,
    )  # fmt: skip


def test_a_contradicted_series_is_minus_infinity_alone() -> None:
    """Its neighbours' likelihood, filter and gradient are as without it."""
    g = torch.Generator().manual_seed(0)
    y = torch.randn(3, 6, 2, generator=g, dtype=torch.float64)
    y[..., 0] = y[:, :1, 0]  # seen exactly, and constant
    bad = y.clone()
    bad[1, 3, 0] += 1.0
    model = exact()
    value = model.log_likelihood(bad)
    assert value[1] == -math.inf
    good = torch.tensor([0, 2])
    alone = exact()
    wanted = alone.log_likelihood(y[good])
    assert torch.allclose(value[good], wanted, **SAME)
    value[good].sum().backward()
    wanted.sum().backward()
    for p, q in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, **SAME)
    f, w = model.filter(bad), alone.filter(y[good])
    assert torch.allclose(f.mean[good], w.mean, **SAME)
    assert torch.allclose(f.cov[good], w.cov, **SAME)


@pytest.mark.parametrize("size", [1e8, 1e60, 1e140])
@pytest.mark.parametrize("case", [c for c in CASES if c.y.ndim == 3], ids=lambda c: c.name)
def test_an_enormous_series_changes_no_other(case: Case, size: float) -> None:
    """With series 0 in units of its own, the others keep every number."""
    model, data = case.make(), case.data()
    huge = data["y"].clone()
    huge[0] = size * huge[0].abs()
    plain, beside = model.smooth(**data), model.smooth(**{**data, "y": huge})
    rest = slice(1, None)
    for name in ("log_likelihood", "mean", "cov", "cross_cov", "y_mean"):
        a, b = getattr(beside, name)[rest], getattr(plain, name)[rest]
        assert torch.allclose(a, b, equal_nan=True, **SAME), name


@pytest.mark.parametrize("case", [c for c in CASES if c.y.ndim == 3], ids=lambda c: c.name)
def test_a_series_without_data_changes_no_other(case: Case) -> None:
    """A series of which nothing was observed has log-likelihood 0, and the others keep theirs."""
    model, data = case.make(), case.data()
    y = data["y"].clone()
    y[0] = torch.nan
    value, plain = model.log_likelihood(**{**data, "y": y}), model.log_likelihood(**data)
    assert float(value[0].detach()) == 0.0
    assert torch.allclose(value[1:], plain[1:], **SAME)


def test_an_infinite_entry_is_refused_by_its_place() -> None:
    """inf is no number that a batch could carry along: the sentence says where it stands."""
    y = np.zeros((3, 6, 2))
    y[1, 4, 0] = np.inf
    with pytest.raises(InputError, match="series 1, row 4, column 0"):
        exact().log_likelihood(y)


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("hidden", [math.nan, math.inf, -math.inf, 1e300])
def test_what_a_mask_hides_reaches_no_gradient(case: Case, hidden: float) -> None:
    """NaN, inf and huge numbers under a False of the mask: the gradients of plain gaps, finite."""
    grads = []
    for filler in (0.0, hidden):
        model, data = case.make(), case.data()
        gone = data["y"].isnan()
        y = torch.where(gone, filler, data["y"]).requires_grad_()
        model.log_likelihood(**{**data, "y": y, "mask": ~gone}).sum().backward()
        assert bool((y.grad[gone] == 0).all())
        grads.append([y.grad, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(grads[0]) == len(grads[1])
    for a, b in zip(*grads, strict=True):
        assert bool(torch.isfinite(b).all())
        assert torch.equal(a, b)
