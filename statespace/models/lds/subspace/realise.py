"""A and C from data: subspace identification, and principal components where that cannot work.

Subspace identification by canonical variates (Larimore 1990; Van Overschee and De Moor 1996,
chapter 4; Katayama 2005, chapter 8): the state is what the past says about the future. With the
past p_t = (y_{t-1} .. y_{t-k}, u_{t-1} .. u_{t-k}) and the future f_t = (y_t .. y_{t+k-1}), after
the inputs of the future have been regressed out of both,

    Sff^-1/2 Sfp Spp^-1/2 = U S V',    z_t = V_n' Spp^-1/2 p_t,

C and the noise covariances are regressions of y_t and z_{t+1} on z_t, and A is what shifts the
observability matrix Sff^1/2 U_n S_n by one row. Everything is in units of the columns' spreads, so
that a change of units changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from statespace.models.lds.subspace.table import Table

__all__ = ["Realisation", "horizons", "principal", "subspace"]

_RADIUS = 0.99  # a start is stable
_LONGEST = 8  # rows of past and future where there is room
_WIDEST = 400  # columns of past and future


@dataclass(frozen=True)
class Realisation:
    """A start in scaled units and coordinates of its own.

    Attributes:
        a, c: (n, n), (m, n).
        q: Covariance of what drives the state, (n, n).
        r: Covariance of one-step errors of y, (m, m); some of it is noise of y.
    """

    a: Tensor
    c: Tensor
    q: Tensor
    r: Tensor

    def driven_by(self, q: Tensor) -> Realisation:
        """The same system in coordinates in which q (n, n), positive definite, drives it."""
        eye = torch.eye(len(q), dtype=q.dtype, device=q.device)
        own = self.q + 0.05 * float(self.q.diagonal().mean() + 1e-6) * eye
        turn = torch.linalg.cholesky(q) @ torch.linalg.inv(torch.linalg.cholesky(own))
        back = torch.linalg.inv(turn)
        return Realisation(turn @ self.a @ back, self.c @ back, q, self.r)

    def seen_through(self, c: Tensor) -> Realisation | None:
        """The same system in coordinates in which y sees it through c (m, n).

        None if c hides what this one shows.
        """
        n = self.a.shape[0]
        rank = int(torch.linalg.matrix_rank(c))
        if rank < min(c.shape) or int(torch.linalg.matrix_rank(self.c)) < min(c.shape):
            return None
        if c.shape[0] > n:
            return None
        blind_own = torch.linalg.svd(self.c).Vh[rank:].mT  # (n, n - m)
        blind = torch.linalg.svd(c).Vh[rank:]
        turn = torch.linalg.pinv(self.c) @ c + blind_own @ blind  # own state = turn z
        back = torch.linalg.inv(turn)
        return Realisation(back @ self.a @ turn, c, back @ self.q @ back.mT, self.r)


def subspace(table: Table, n: int, k: int) -> Realisation | None:
    """By canonical variates with k rows of past and future; None where these span too little."""
    past, future, inputs, follows = _stacked(table, k)
    one = torch.cat([inputs, torch.ones_like(past[:, :1])], -1)
    p, f = _without(one, past), _without(one, future)
    rows = len(p)
    wp, wf = _whitener(p.mT @ p / rows), _whitener(f.mT @ f / rows)
    found = torch.linalg.svd(wf @ (f.mT @ p / rows) @ wp, full_matrices=False)
    if len(found.S) < n:
        return None
    sign = found.Vh[:n].sum(-1, keepdim=True).sign()
    sign = torch.where(sign == 0, torch.ones_like(sign), sign)
    state = (past - past.mean(0)) @ (sign * found.Vh[:n] @ wp).mT  # (rows, n)
    y, u = future[:, : table.m], inputs[:, : table.p]
    right = torch.cat([state, u, torch.ones_like(y[:, :1])], -1)
    c, errors = _regression(right, y)
    _, noise = _regression(right[:-1][follows], state[1:][follows])
    seen = torch.linalg.pinv(wf) @ found.U[:, :n] * (found.S[:n] * sign[:, 0])
    a = _stable(_shift_invariant(seen, table.m))
    return Realisation(a, c[:, :n], _second_moment(noise), _second_moment(errors))


def _shift_invariant(seen: Tensor, m: int) -> Tensor:
    """A from (C; C A; C A^2; ..), (k m, n).

    Its rows from the second block on are its rows but for the last block times A. A regression of
    z_{t+1} on z_t would be drawn to zero by a short past.
    """
    return torch.linalg.pinv(seen[:-m]) @ seen[m:]


def horizons(table: Table, n: int) -> list[int]:
    """Rows of past and future worth a try: as many as the data can feed, and as few as n needs.

    Canonical correlations of many columns over few rows are near one whatever the data.
    """
    if n == 0 or table.gaps > 0.5:
        return []
    least = max(2, math.ceil(n / table.m) + 1)
    lengths = table.active.sum(1)
    found: list[int] = []
    for k in range(max(least, _LONGEST), least - 1, -1):
        rows = int((lengths - 2 * k + 1).clamp_min(0).sum())
        columns = k * (table.m + table.p)
        wanted = (10 if k > least else 3) * columns + table.p * k + n + 2
        if columns <= _WIDEST and rows >= wanted and (not found or k == least):
            found.append(k)
    return found


def _stacked(table: Table, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Past (N, k (m + p)), future (N, k m), its inputs (N, k p), and which rows go on.

    A row goes on if the next row of the same series follows it, (N - 1,).
    """
    y, u = table.filled, table.u
    windows = y.unfold(1, 2 * k, 1).mT  # (S, N_s, 2k, m)
    drives = u.unfold(1, 2 * k, 1).mT
    on = table.active.unfold(1, 2 * k, 1).all(-1)  # (S, N_s)
    series = torch.arange(len(y), device=y.device)[:, None].expand_as(on)[on]
    w, d = windows[on], drives[on]
    past = torch.cat([w[:, :k].flip(1).flatten(1), d[:, :k].flip(1).flatten(1)], -1)
    follows = series[1:] == series[:-1]
    return past, w[:, k:].flatten(1), d[:, k:].flatten(1), follows


def _without(x: Tensor, y: Tensor) -> Tensor:
    """Y less its regression on x."""
    _coefficients, residual = _regression(x, y)
    return residual


def _regression(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (columns of y, columns of x) with a touch of ridge, and the residuals."""
    gram = x.mT @ x
    ridge = 1e-9 * gram.diagonal().clamp_min(1e-12)
    coefficients = torch.linalg.solve(gram + torch.diag(ridge), x.mT @ y)
    return coefficients.mT, y - x @ coefficients


def _second_moment(x: Tensor) -> Tensor:
    return x.mT @ x / max(len(x), 1)


def _whitener(s: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(s)
    keep = values > 1e-8 * values.max().clamp_min(1e-300)
    size = torch.where(keep, values, torch.ones_like(values)).rsqrt()
    return (vectors * torch.where(keep, size, torch.zeros_like(size))) @ vectors.mT


def _stable(a: Tensor) -> Tensor:
    radius = float(torch.linalg.eigvals(a).abs().max()) if a.numel() else 0.0
    return a * (_RADIUS / radius) if radius > _RADIUS else a


def principal(table: Table, n: int, variance: Tensor, generator: Generator) -> Realisation:
    """By principal components of y and their first autocorrelation; always works.

    Args:
        table: The data.
        n: States; those beyond the number of columns get small random loadings.
        variance: Of each state, (n,), where it is known from what is held; else ones.
        generator: Random numbers.
    """
    s, m = table.covariance(), table.m
    values, vectors = torch.linalg.eigh(s)
    values, vectors = values.flip(0), vectors.flip(1)
    sign = vectors.sum(0).sign()
    vectors = vectors * torch.where(sign == 0, torch.ones_like(sign), sign)
    rest = float(values[n:].mean()) if n < m else 0.1 * float(values.mean())
    draw = torch.randn(m + n, n, generator=generator, device=generator.device).to(s)
    c, a = 0.1 * draw[:m], 0.1 * draw[m:]
    k = min(n, m)
    c[:, :k] = (
        vectors[:, :k]
        * (values[:k] - min(rest, 0.5 * float(values[0]))).clamp_min(0.01 * float(values[0])).sqrt()
    )
    scores = table.filled @ vectors[:, :k]
    on = table.active[:, 1:] & table.active[:, :-1]
    if bool(on.any()):
        x, y = scores[:, :-1][on], scores[:, 1:][on]
        size = x.square().mean(0).sqrt().clamp_min(1e-12)
        a[:k, :k] = _regression(x / size, y / size)[0]
    a[k:, k:] = a[k:, k:] + 0.5 * torch.eye(n - k, dtype=a.dtype, device=a.device)
    a = _stable(a)
    q = torch.eye(n, dtype=a.dtype, device=a.device)
    q = q * (1 - a.square().sum(-1)).clamp(0.05, 1.0)
    size = variance.sqrt()
    floor = 0.01 * torch.diag(s.diagonal())
    left = (vectors[:, k:] * values[k:].clamp_min(0)) @ vectors[:, k:].mT
    return Realisation(a * size[:, None] / size, c / size, q * size[:, None] * size, left + floor)
