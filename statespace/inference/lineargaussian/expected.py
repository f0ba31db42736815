"""What EM needs of a posterior, summed over rows inside the backward pass; no state is stored.

With r, N and u, D of the backward recursion (`kernels.backward`), the disturbances given y have

    E[w_t] = Q r,    Var[w_t] = Q - Q N Q,    Cov(w_t, z_{t-1}) = Q (dA - r x')
    E[v_t] = R u,    Var[v_t] = R - R D R,    Cov(v_t, z_t) = R (dC - u x')

(Koopman 1993, "Disturbance smoother for state space models"), so the gradient's sums over rows are
the sums of residuals that the M-step regresses, and only E[z z'] is to be added up beside them.
What is missing of a row has u = 0, which is its expectation given what was seen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace.inference.lineargaussian.compiled import Run, run_of, total_of
from statespace.inference.lineargaussian.compiled_back import backward, forward_for
from statespace.inference.lineargaussian.complete import lanes_of
from statespace.inference.lineargaussian.scores import no_moments, score_tables
from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import System
from statespace.kernels import Score, Second

__all__ = ["Expected", "run_expected"]


class Expected(NamedTuple):
    """Sums over rows and series, (*models, ...), at the parameters of the E-step.

    Attributes:
        a, c: dA (n, n), dC (m, n): sums of r x' - N A P and of u x' - D-terms.
        q, r: Sums of r r' - N (n, n) and of u u' - D (m, m); of the latter the diagonal alone where
            the noise is independent by construction.
        b, d: Sums over rows of r and u, (*batch, n), (*batch, m); row by row, (*batch, T, n) and
            (*batch, T, m), where inputs are to be regressed on.
        move: E[(z, 1)(z, 1)'] over rows that another one follows, (n + 1, n + 1).
        read: The same over rows with data.
        first_mean, first_cov: Moments of z_1, (*batch, n), (*batch, n, n).
        mean: Smoothed means (*batch, T, n) where inputs are to be regressed on, else None.
    """

    a: Tensor
    c: Tensor
    q: Tensor
    r: Tensor
    b: Tensor
    d: Tensor
    move: Tensor
    read: Tensor
    first_mean: Tensor
    first_cov: Tensor
    mean: Tensor | None


def run_expected(
    system: System,
    begin: Start,
    y: Tensor,
    observed: Tensor,
    lengths: Tensor,
    *,
    diffuse_constant: bool = True,
    by_row: bool = False,
) -> tuple[Tensor, Expected] | None:
    """The log-likelihood (*batch,) and the sums; None: smooth, and sum up that.

    Args:
        system: As for `run_forward`, as are the next three and `diffuse_constant`.
        begin: Likewise.
        y: Likewise.
        observed: Likewise.
        lengths: Rows of each series, (*batch,).
        diffuse_constant: Likewise.
        by_row: Whether `b`, `d` and `mean` are wanted row by row.
    """
    if system.varies & {"Q", "R"}:
        return None
    n, m, t_max, whole = system.n, system.m, y.shape[-2], system.m > 1 and not system.R.diagonal
    run = run_of(system, begin, y, observed)
    found = forward_for(run, system, diffuse_constant, whole_r=whole)
    if found is None:
        return None
    value, run = found
    layout = run.layout
    own, blocks = np.ones((layout.sets, layout.series)), lanes_of(layout)[1] // layout.sets
    rows = dict.fromkeys("AbQCdR", 1) | (dict.fromkeys("bd", t_max) if by_row else {})
    score = score_tables(own, blocks, n, m, rows)
    uneven = lengths.numel() > 0 and bool((lengths != t_max).any())
    table = layout.lay(lengths.expand(layout.batch), 0).contiguous().numpy() if uneven else None
    second = _tables(layout.sets, blocks, layout.series, n, table)
    mean = np.empty(
        (layout.sets, layout.series, t_max, n) if by_row else (1, 0, 0, 0), y.numpy().dtype
    )
    smooth = no_moments(n, mean.dtype)._replace(mean=mean)
    if run.settled is None:
        squares = backward(run, system, smooth, score, second)
        value = total_of(run, squares) if value is None else value
        return None if value is None else (value, _read(run, [score], [second], smooth.mean))
    model = layout.model(system, run.begin, run.dense)
    settled = run.settled
    squares = settled.back(model, layout.data(run.y, None), smooth, score, second)
    value = total_of(run, settled.value[:, None] - 0.5 * squares)
    rest = score_tables(own.sum(1, keepdims=True), 1, n, m, rows | {"b": 1, "d": 1})
    others = _tables(layout.sets, 1, 1, n, None)
    settled.spread_back(no_moments(n, np.float64), rest, others)
    sums = _read(run, [score, rest], [second, others], smooth.mean)
    return None if value is None else (value, sums)


def _tables(sets: int, blocks: int, series: int, n: int, lengths: NDArray[Any] | None) -> Second:
    size = (n + 1) * (n + 2) // 2
    return Second(
        np.empty((1, 0), np.int64) if lengths is None else lengths,
        np.zeros((sets, blocks, size)),
        np.zeros((sets, blocks, size)),
        np.zeros((sets, series, n)),
        np.zeros((sets, series, n, n)),
    )


def _read(run: Run, scores: list[Score], seconds: list[Second], mean: NDArray[Any]) -> Expected:
    """Tables, of which the second of a pair holds for every series, as sums."""
    layout = run.layout
    n = seconds[0].mean.shape[-1]
    m = scores[0].d.shape[-1]

    def added(name: str, *event: int) -> Tensor:
        total: Any = sum(getattr(s, name).sum((1, 2)) for s in scores)
        return layout.back_sets(torch.as_tensor(total).reshape(-1, *event))

    def packed(total: Any, size: int) -> Tensor:
        low, high = torch.tril_indices(size, size)
        full = torch.zeros(layout.sets, size, size, dtype=torch.float64)
        full[:, low, high] = full[:, high, low] = torch.as_tensor(total)
        return layout.back_sets(full)

    def twice(name: str) -> Any:
        first, *rest = (getattr(s, name).sum(1) for s in seconds)
        return sum((layout.series * x for x in rest), first)

    def rows(x: NDArray[Any]) -> Tensor:
        return layout.back(torch.from_numpy(x))

    b, d = rows(scores[0].b), rows(scores[0].d)
    cov = torch.from_numpy(seconds[-1].cov).expand(layout.sets, layout.series, n, n)
    return Expected(
        a=added("a", n, n),
        c=added("c", m, n),
        q=packed(sum(s.q.sum((1, 2)) for s in scores), n),
        r=packed(sum(s.r.sum((1, 2)) for s in scores), m),
        b=b if mean.size else b[..., 0, :],
        d=d if mean.size else d[..., 0, :],
        move=packed(twice("move"), n + 1),
        read=packed(twice("read"), n + 1),
        first_mean=rows(seconds[0].mean),
        first_cov=layout.back(cov),
        mean=rows(mean).double() if mean.size else None,
    )
