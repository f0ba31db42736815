"""What kernels promise by themselves: gains come to rest, and arrays are read in order.

Would catch: covariances that are computed row by row for ever because rounding is taken for
change, and an array whose memory is not in the order of its entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import statespace as ss
from statespace import kernels
from statespace.inference.kalman.problem import system_of
from statespace.inference.lineargaussian import start
from statespace.inference.lineargaussian.compiled import is_dense
from statespace.inference.lineargaussian.complete import Settled
from statespace.inference.lineargaussian.layout import Layout

ROWS = 5000


def _settled(seed: int) -> Settled:
    """Of a random model, whose noise is of any size beside that of y."""
    g = np.random.default_rng(seed)
    n, m = int(g.integers(1, 7)), int(g.integers(1, 7))
    scale, a = 10 ** g.uniform(-4, 2), g.standard_normal((n, n))
    a *= g.uniform(0.01, 0.99) / abs(np.linalg.eigvals(a)).max()
    half = g.standard_normal((n, n))
    noise = scale * (half @ half.T + 0.1 * np.eye(n))
    lds = ss.LDS(
        n, m, A=a, C=g.standard_normal((m, n)), Q=noise, R=np.eye(m), initial="known",
        initial_mean=np.zeros(n), initial_cov=np.eye(n),
    )  # fmt: skip
    system = system_of(lds, torch.zeros(1, 0, dtype=torch.float64), 0).detach()
    begin, layout = start(system), Layout(system, torch.Size((2,)))
    return Settled(system, layout, layout.model(system, begin, is_dense(system)), ROWS)


@pytest.mark.parametrize("seed", [1, 50, 173, 194, 197, 265, 53, 142])
def test_gains_come_to_rest(seed: int) -> None:
    """Where they converge quickly, rounding is soon all that is left of their changes."""
    assert int(_settled(seed).rows[0]) < ROWS // 5


def test_an_array_out_of_order_is_refused() -> None:
    """Places are counted along memory."""
    one = np.zeros((1, 1, 3, 2))
    turned = one.swapaxes(-1, -2)
    data = kernels.Data(turned, np.zeros((1, 0, 0, 0), np.uint8))
    lds = ss.LDS(2, 3, seed=0)
    system = system_of(lds, torch.zeros(1, 0, dtype=torch.float64), 0).detach()
    model = Layout(system, torch.Size()).model(system, start(system), is_dense(system))
    value, bad = np.empty((2, 1, 1))
    none = np.zeros((1, 0, 0, 0))
    with pytest.raises(Exception, match="not contiguous"):
        kernels.filter_each(kernels.Lanes(1), model, data, 0, 1, value, bad, none, None)


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("n", [13, 24])
def test_many_states_of_one_series(n: int, gaps: bool) -> None:
    """A single lane takes entries eight at a time, and the rest one by one."""
    model = ss.LDS(n, 3, seed=0)
    y = model.sample(30, seed=1).y.clone()
    if gaps:
        y[::4, 1] = torch.nan
    plain = ss.Kalman(core="plain")
    for value, other in zip(_everything(model, y, None), _everything(model, y, plain), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-9, atol=1e-10)


def _everything(model: ss.LDS, y: torch.Tensor, method: Any) -> list[torch.Tensor]:
    value = model.log_likelihood(y, method=method)
    grads = torch.autograd.grad(value, list(model.parameters()))
    moments = model.smooth(y, method=method)
    return [value.detach(), *grads, moments.mean, moments.cov, moments.cross_cov]
