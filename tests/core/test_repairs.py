"""Variances below zero, which only rounding makes, are set to zero and counted.

Would catch: a negative variance handed on, a repair that is not said, a row zeroed without its
column.
"""

from __future__ import annotations

import pytest
import torch

import statespace as ss
from statespace.inference.lineargaussian.backward import clip


def test_clip_zeroes_row_and_column_of_a_negative_variance() -> None:
    """The others stay as they are, and what needs no repair is the very tensor."""
    good = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    bad = torch.tensor([[-1e-20, 1e-9], [1e-9, 3.0]], dtype=torch.float64)
    cov, count = clip(torch.stack([good, bad]))
    assert count == 1
    assert torch.equal(cov[0], good)
    assert cov[1].tolist() == [[0.0, 0.0], [0.0, 3.0]]
    same, none = clip(good)
    assert same is good
    assert none == 0


@pytest.mark.parametrize("method", [ss.Kalman("plain"), ss.Kalman()], ids=["plain", "auto"])
def test_smoothing_at_the_end_of_its_digits_says_what_it_repaired(method: ss.Kalman) -> None:
    """Outputs in units from 1e-4 to 1e4 of four integrators, nearly without noise, in float32:
    some smoothed variances are rounding. None is negative, and the record counts them."""
    n, eye = 4, torch.eye(4)
    g = torch.Generator().manual_seed(0)
    lds = ss.LDS(
        n,
        3,
        A=eye + torch.diag(torch.ones(n - 1), 1),
        C=torch.randn(3, n, generator=g) * 10.0 ** torch.linspace(-4, 4, n),
        Q=1e-12 * eye,
        R=1e-12 * torch.eye(3),
        d=torch.zeros(3),
        initial_mean=torch.zeros(n),
        initial_cov=1e4 * eye,
        dtype=torch.float32,
    )
    s = lds.smooth(torch.randn(6, 40, 3, generator=g), method=method)
    assert s.repairs > 0
    assert f"repairs={s.repairs}" in repr(s)
    assert bool((s.cov.diagonal(dim1=-2, dim2=-1) >= 0).all())
    assert bool(s.cov.isfinite().all())
