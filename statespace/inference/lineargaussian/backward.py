"""The backward pass: r_t and N_t, from which come the smoother and the score.

With H = F^-1 C, G the whitened gain, K = G F^-1, and r, N at row t after its observation,

    u = e - G' r                     smoothed, whitened residual
    r- = r + H' u                    N- = H' H + (I - G H)' N (I - G H)
    r  <- A' r-                      N  <- A' N- A                          (next row down)

    z_t | y  ~  x_f + P_f r,  P_f - P_f N P_f;      Cov(z_{t+1}, z_t) = A V + Q (r- x' - N- A P_f)

(Durbin and Koopman 2012, sections 4.4 to 4.7; de Jong 1989.) Neither Q nor R nor the initial
covariance is inverted. Columns of delta run through the same lines: once multiplied by the root of
its posterior, sums of products over columns are expectations over delta, and by Fisher's identity
in delta the score of the augmented likelihood is the expected score given delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from statespace.inference.lineargaussian import captured
from statespace.inference.lineargaussian.delta import Delta
from statespace.inference.lineargaussian.passes import Pass
from statespace.inference.lineargaussian.scan import descend
from statespace.inference.lineargaussian.system import System
from statespace.linalg import quadratic
from statespace.shapes import once


class Adjoint(NamedTuple):
    """Rows of the recursion, time first; c columns: the mean, then delta."""

    x: Tensor  # (T, *b, n, c)   smoothed state
    u: Tensor  # (T, *b, m, c)   F^-T u, the smoothed disturbance of y before R
    r: Tensor  # (T, *b, n, c)   r-, at the prediction of row t
    n: Tensor  # (T, *c, n, n)   N-, at the prediction of row t
    n_after: Tensor  # (T, *c, n, n)   N, after row t was absorbed
    gain: Tensor  # (T, *c, n, m)   K, zero where not used
    weight: Tensor  # (T, *c, m, m)   D = F^-T (I + G' N G) F^-1, zero where not used


class Smooth(NamedTuple):
    """Time first: (T, *batch, ...)."""

    mean: Tensor
    cov: Tensor
    cross_cov: Tensor  # (T - 1, *batch, n, n)   row t = Cov(z_{t+1}, z_t)
    y_mean: Tensor | None  # None where they are to be worked out from the others
    y_cov: Tensor | None
    clipped: int  # variances that came out negative, and were set to zero


class Score(NamedTuple):
    """Gradients, in the order of the arguments of the likelihood."""

    y: Tensor
    A: Tensor
    b: Tensor
    Q: Tensor
    C: Tensor
    d: Tensor
    R: Tensor
    mean: Tensor
    cov: Tensor


def adjoint(run: Pass, system: System, known: Delta) -> Adjoint:
    """The recursion, over all rows."""
    turn = columns_of(known)
    e, xf = run.e @ turn, run.xf @ turn
    on = run.used.to(e.dtype)
    f, g, h = _masked(run, system, on)
    rr, nn, r_after, n_after = _down(run, system, e, g, h)
    u = e - g.mT @ r_after
    x = xf + run.sf @ (run.sf.mT @ r_after)
    eye_m = torch.eye(f.shape[-1], dtype=f.dtype, device=f.device)
    inverse = torch.linalg.solve_triangular(f, eye_m.expand_as(f), upper=False)
    if not bool(run.used.all()):
        inverse = inverse * on[..., None, :] * on[..., :, None]
    gn = g.mT @ n_after @ g
    weight = inverse.mT @ (eye_m + gn) @ inverse
    return Adjoint(x, inverse.mT @ u, rr, nn, n_after, g @ inverse, weight)


def _down(
    run: Pass, system: System, e: Tensor, g: Tensor, h: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The recursion by whatever made the pass; on a GPU the loop is recorded."""
    moving = system.over_time("A", len(run.batch_shape))
    if run.scanned:
        return descend(e, g, h, moving[1:] if "A" in system.varies else moving)
    if captured.suits(e, 0):
        found = captured.descend(e, g, h, moving)
        if found is not None:
            return found
    return _loop(e, g, h, system)


def _loop(e: Tensor, g: Tensor, h: Tensor, system: System) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """r- and N- of each row, and r and N after it, row by row; see `scan.descend`."""
    row, n = system.steps(), system.n
    r = e.new_zeros(*e.shape[1:-2], n, e.shape[-1])
    big = e.new_zeros(*h.shape[1:-2], n, n)
    left = torch.eye(n, dtype=e.dtype, device=e.device) - g @ h
    own = h.mT @ h
    down: list[tuple[Tensor, ...]] = []
    for t in range(e.shape[0] - 1, -1, -1):
        after = (r, big)
        r = r + h[t].mT @ (e[t] - g[t].mT @ r)
        big = own[t] + left[t].mT @ big @ left[t]
        down.append((r, big, *after))
        a = row(t).A
        r = a.mT @ r
        big = a.mT @ big @ a
    rr, nn, r_after, n_after = (torch.stack(v[::-1]) for v in zip(*down, strict=True))
    return rr, nn, r_after, n_after


def columns_of(known: Delta) -> Tensor:
    """[[1, 0], [mean, root]]: from columns of delta to its mean and its standard directions."""
    k = known.mean.shape[-1]
    first = torch.cat([torch.ones_like(known.rss)[..., None], known.mean], -1)[..., None]
    rest = torch.nn.functional.pad(known.root, (0, 0, 1, 0)) if k else known.root
    if k == 0:
        return first
    return torch.cat([first, rest], -1)


def _masked(run: Pass, system: System, on: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """F, G and H = F^-1 C with the entries that were not used at zero."""
    c = system.over_time("C", len(run.batch_shape))
    f, g = run.f, run.gain
    whole = bool(run.used.all())
    if not whole:
        c = c * on[..., None]
        g = g * on[..., None, :]
    lead = torch.broadcast_shapes(f.shape[:-2], c.shape[:-2])
    f = f.expand(*lead, *f.shape[-2:])
    h = torch.linalg.solve_triangular(f, c.expand(*lead, *c.shape[-2:]), upper=False)
    if not whole:
        h = h * on[..., None]
    return f, g, h


def smooth(run: Pass, system: System, known: Delta, y: Tensor) -> Smooth:
    """Smoothed moments of z and of y (which holds what was not observed, given what was).

    Args:
        run: a forward pass that kept its states.
        system: its system, detached.
        known: delta given all rows.
        y: (T, *batch, m), the data, time first.
    """
    a = adjoint(run, system, known)
    mean, columns = a.x[..., 0], a.x[..., 1:]
    spread = quadratic(columns)
    eye = torch.eye(system.n, dtype=mean.dtype, device=mean.device)
    core = eye - run.sf.mT @ a.n_after @ run.sf
    cov = run.sf @ (0.5 * (core + core.mT)) @ run.sf.mT
    cov, clipped = clip(cov)
    cov = cov + spread
    moving = system.over_time("A", len(run.batch_shape))
    noise = quadratic(system.over_time("Q", len(run.batch_shape)))
    moving, noise = (x[1:] if x.shape[0] > 1 else x for x in (moving, noise))
    pf = quadratic(run.sf)
    carried = a.r[1:, ..., 1:] @ columns[:-1].mT - a.n[1:] @ moving @ pf[:-1]
    cross = moving @ cov[:-1] + noise @ carried
    y_mean, y_cov = _imputed(run, system, a, y, cov, pf)
    cov, cross, y_cov = _blind(run, known, cov, cross, y_cov, system)
    return Smooth(mean, cov, cross, y_mean, y_cov, clipped)


def clip(cov: Tensor) -> tuple[Tensor, int]:
    """A variance below zero is rounding: its row and column become zero, and it is counted."""
    bad = once(cov.diagonal(dim1=-2, dim2=-1)) < 0
    count = int(bad.sum())
    if count:
        keep = (~bad).to(cov)
        cov = cov * keep[..., :, None] * keep[..., None, :]
    return cov, count


def _imputed(
    run: Pass, system: System, a: Adjoint, y: Tensor, cov: Tensor, pf: Tensor
) -> tuple[Tensor, Tensor]:
    """E and Cov of y_t given all that was observed: z's part, and noise correlated across y."""
    c, d = system.over_time("C", len(run.batch_shape)), system.over_time("d", len(run.batch_shape))
    r = quadratic(system.over_time("R", len(run.batch_shape)))
    u, x = a.u, a.x
    y_mean = (c @ x[..., :1])[..., 0] + d + (r @ u[..., :1])[..., 0]
    noise = r - r @ a.weight @ r + quadratic(r @ u[..., 1:])
    eye = torch.eye(system.n, dtype=x.dtype, device=x.device)
    with_z = r @ (u[..., 1:] @ x[..., 1:].mT - a.gain.mT @ (eye - a.n_after @ pf))
    both = with_z @ c.mT
    y_cov = c @ cov @ c.mT + both + both.mT + noise
    hidden = (~run.used).to(x)
    y_cov = y_cov * hidden[..., :, None] * hidden[..., None, :]
    return torch.where(run.used, y.expand_as(y_mean), y_mean), clip(y_cov)[0]


def _blind(
    run: Pass, known: Delta, cov: Tensor, cross: Tensor, y_cov: Tensor, system: System
) -> tuple[Tensor, Tensor, Tensor]:
    """Inf along directions of a diffuse start that the data never resolve."""
    if run.e.shape[-1] == 1 or bool((known.blind == 0).all()):
        return cov, cross, y_cov
    blind = run.xf[..., 1:] @ known.blind
    seen = system.over_time("C", len(run.batch_shape)) @ blind
    hidden = (~run.used).to(seen)[..., None]
    return (
        cov + _endless(blind, blind),
        cross + _endless(blind[1:], blind[:-1]),
        y_cov + _endless(seen * hidden, seen * hidden),
    )


def _endless(a: Tensor, b: Tensor) -> Tensor:
    product = a @ b.mT
    scale = a.norm(dim=-1)[..., :, None] * b.norm(dim=-1)[..., None, :]
    small = product.abs() <= torch.finfo(a.dtype).eps ** 0.5 * scale
    return torch.where(small, torch.zeros_like(product), product.sign() * torch.inf)


def score(
    run: Pass, system: System, known: Delta, weight: Tensor, like: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The gradient of sum(weight * log-likelihood).

    Args:
        run: a forward pass that kept its states.
        system: its system, detached.
        known: delta given all rows.
        weight: (*batch,), one number per series.
        like: y, A, b, Q, C, d, R, initial mean and covariance, for their shapes.

    Returns:
        Gradients of these shapes, in this order.
    """
    a = adjoint(run, system, known)
    weight = torch.where(run.contradicted, torch.zeros_like(weight), weight)
    w = weight[..., None, None]
    eye = torch.eye(system.n, dtype=w.dtype, device=w.device)
    pf = quadratic(run.sf)
    moving = system.over_time("A", len(run.batch_shape))
    moving = moving[1:] if moving.shape[0] > 1 else moving
    half = 0.5 * w
    da = w * (a.r[1:] @ a.x[:-1].mT - a.n[1:] @ moving @ pf[:-1])
    dq = half * (quadratic(a.r[1:]) - a.n[1:])
    db = w[..., 0] * a.r[1:, ..., 0]
    dc = w * (a.u @ a.x.mT - a.gain.mT @ (eye - a.n_after @ pf))
    dr = half * (quadratic(a.u) - a.weight)
    dd = w[..., 0] * a.u[..., 0]
    p0 = half * (quadratic(a.r[0]) - a.n[0])
    m0 = w[..., 0] * a.r[0, ..., 0]
    if system.prior.diffuse is not None:
        proper = (~system.prior.diffuse).to(m0)
        m0, p0 = m0 * proper, p0 * proper[:, None] * proper
    late = {"A": da, "b": db, "Q": dq}  # nothing leads into row 0
    full: dict[str, Tensor | None] = {k: _after_first(v) for k, v in late.items()}
    full |= {"C": dc, "d": dd, "R": dr}
    out = [fit_to((-dd).movedim(0, -2), like[0])]
    for i, name in enumerate(("A", "b", "Q", "C", "d", "R"), start=1):
        rank = 1 if name in "bd" else 2
        out.append(_over(full[name], like[i], name in system.varies, rank))
    return (*out, fit_to(m0, like[7]), fit_to(p0, like[8]))


def _over(grad: Tensor | None, like: Tensor, varies: bool, rank: int) -> Tensor:
    if grad is None:
        return torch.zeros_like(like)
    return fit_to(grad.movedim(0, -rank - 1) if varies else grad.sum(0), like)


def fit_to(grad: Tensor, like: Tensor) -> Tensor:
    """Summed over the axes along which `like` was broadcast."""
    return grad.sum_to_size(like.shape) if grad.shape != like.shape else grad


def _after_first(grad: Tensor) -> Tensor | None:
    """With a row of zeros in front; None where there is one row only."""
    return torch.cat([torch.zeros_like(grad[:1]), grad]) if grad.shape[0] else None
