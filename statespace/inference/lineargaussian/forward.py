"""The forward pass: one triangularisation per row, k + 1 mean columns beside it.

    observe   [[R^1/2, C S], [0, S]] -> [[F, 0], [G, S_f]],   e = F^-1 (y - d - C x),  x_f = x + G e
    predict   [A S_f, Q^1/2] -> S,                            x = A x_f + b

F F' is the innovation covariance. Columns of delta ride along: their e is the row [E | e] of a
least-squares problem for delta, whitened. Where nothing is missing the covariances do not hang on
the data, and one recursion serves every series.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.steady import Steady
from statespace.inference.lineargaussian.system import Step, System, time_first
from statespace.inference.lineargaussian.triangular import rank_safe, too_small
from statespace.linalg import lq


@dataclass(frozen=True)
class Pass:
    """What the forward pass leaves, time first.

    `*c` is the batch of the covariances, `*b` that of the means; c broadcasts to b.

    Attributes:
        e: (T, *b, m, 1 + k) whitened residual of the mean and of each column; 0 where not used.
        f: (T, *c, m, m) root of the innovation covariance; a unit row where not used.
        gain: (T, *c, n, m), G.
        x, s: (T, *b, n, 1 + k), (T, *c, n, n) predicted; xf, sf the same, filtered.
        used: (T, *b, m) entries that carry density: observed and not determined already.
        start: the augmented start.
        contradicted: (*b,) a determined entry was observed elsewhere: log-likelihood -inf.
    """

    e: Tensor
    f: Tensor
    gain: Tensor
    x: Tensor
    s: Tensor
    xf: Tensor
    sf: Tensor
    used: Tensor
    start: Start
    contradicted: Tensor

    @property
    def batch_shape(self) -> torch.Size:
        return self.e.shape[1:-2]


def forward(
    system: System, begin: Start, y: Tensor, observed: Tensor, active: Tensor, *, keep: bool = True
) -> Pass:
    """Run over all rows.

    Args:
        system: the model, detached.
        begin: its augmented start.
        y: (*b, T, m), finite everywhere.
        observed: (*b or broadcastable, T, m) boolean, False beyond a series' end.
        active: (*b or broadcastable, T) boolean, False beyond a series' end.
        keep: whether x, s, xf, sf are stored; the likelihood alone needs none of them.

    Returns:
        The pass. If an innovation variance is zero to rounding, the whole pass is made again with
        a triangularisation that decides rank entry by entry.
    """
    plan = _Plan(system, begin, y, observed, active)
    run = _loop(plan, keep=keep, safe=False)
    if bool(too_small(run.f).any()):
        run = _loop(plan, keep=keep, safe=True)
    return run


class _Plan:
    """Shapes and kinds of rows, decided once."""

    def __init__(
        self, system: System, begin: Start, y: Tensor, observed: Tensor, active: Tensor
    ) -> None:
        self.system, self.begin = system, begin
        params = torch.broadcast_shapes(
            system.covariance_batch_shape(), begin.s.shape[:-2], begin.x.shape[:-2]
        )
        self.b = torch.broadcast_shapes(
            params, system.batch_shape(), observed.shape[:-2], y.shape[:-2], begin.rows.shape[:-2]
        )
        rank = len(self.b)
        self.y = time_first(y, 1, rank)  # (T, *b, m)
        self.observed = time_first(observed, 1, rank)
        self.active = time_first(active, 0, rank)[..., None]
        self.kinds = self._kinds()
        mask = self.observed.shape[1:-1] if "partial" in self.kinds else torch.Size()
        c = torch.broadcast_shapes(params, mask)
        self.c = torch.Size((*(1,) * (rank - len(c)), *c))

    def _kinds(self) -> list[str]:
        """full: every series that has not ended is observed whole; none: no entry at all."""
        over = tuple(range(1, self.observed.dim()))
        full = (self.observed | ~self.active).all(over) if over else self.observed
        some = self.observed.any(over)
        return [
            "full" if f else "partial" if s else "none"
            for f, s in zip(full.tolist(), some.tolist(), strict=True)
        ]


def _loop(plan: _Plan, *, keep: bool, safe: bool) -> Pass:
    system, begin = plan.system, plan.begin
    n, m, k = system.n, system.m, begin.x.shape[-1]
    row = system.steps()
    s = begin.s.expand(*plan.c, n, n)
    x = begin.x.expand(*plan.b, n, k)
    records: list[list[Tensor]] = [[] for _ in range(8)]
    es, fs, gains, xs, ss, xfs, sfs, dead = records
    contradicted = torch.zeros(plan.b, dtype=torch.bool, device=x.device)
    idle = _Idle(plan, x)
    steady = Steady(system, allowed=not safe)
    joint, off = s, idle.off
    for t, kind in enumerate(plan.kinds):
        p = row(t)
        if t:
            x = p.A @ x
            x[..., 0] += p.b
            s = steady.root if steady.reached(kind) else lq(_beside(p.A @ s, p.q))
            steady.see(t, s, kind)
        if keep:
            xs.append(x)
            ss.append(s)
        if kind == "none":
            e, f, g, off = idle.e, idle.f, idle.g, idle.off
        else:
            residual = -(p.C @ x)
            residual[..., 0] += plan.y[t] - p.d
            if not steady.filled:
                joint = _joint(p, s, plan.observed[t] if kind == "partial" else None)
                joint, off = rank_safe(joint, m) if safe else (lq(joint), idle.off)
                steady.fill()
            f, g, s = joint[..., :m, :m], joint[..., m:, :m], joint[..., m:, m:]
            if kind == "partial" or safe:
                residual = residual * plan.observed[t].to(x.dtype)[..., None]
            e = torch.linalg.solve_triangular(f, residual, upper=False)
            if safe:
                contradicted = contradicted | _contradicted(p, x, plan, t, off, e)
                e = e.masked_fill(off[..., None], 0.0)
            x = x + g @ e
        es.append(e)
        fs.append(f)
        gains.append(g)
        dead.append(off)
        if keep:
            xfs.append(x)
            sfs.append(s)
    used = plan.observed & ~_stack(dead, plan.c, 1)
    e = _stack(es, plan.b, 2)
    if not bool(used.all()):
        e = torch.where(used[..., None], e, torch.zeros_like(e))
    f, gain = _stack(fs, plan.c, 2), _stack(gains, plan.c, 2)
    used = used.expand(e.shape[:-1])
    if not keep:
        return Pass(e, f, gain, x, s, x, s, used, begin, contradicted)
    x, xf = _stack(xs, plan.b, 2), _stack(xfs, plan.b, 2)
    s, sf = _stack(ss, plan.c, 2), _stack(sfs, plan.c, 2)
    return Pass(e, f, gain, x, s, xf, sf, used, begin, contradicted)


class _Idle:
    """The update of a row in which nothing was observed."""

    def __init__(self, plan: _Plan, x: Tensor) -> None:
        n, m = plan.system.n, plan.system.m
        self.e = x.new_zeros(*plan.b, m, x.shape[-1])
        self.f = torch.eye(m, dtype=x.dtype, device=x.device).expand(*plan.c, m, m)
        self.g = x.new_zeros(*plan.c, n, m)
        self.off = torch.zeros(*plan.c, m, dtype=torch.bool, device=x.device)


def _beside(a: Tensor, b: Tensor) -> Tensor:
    if a.shape[:-2] != b.shape[:-2]:
        lead = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = a.expand(*lead, *a.shape[-2:]), b.expand(*lead, *b.shape[-2:])
    return torch.cat([a, b], -1)


def _joint(p: Step, s: Tensor, observed: Tensor | None) -> Tensor:
    """[[C S, R^1/2], [S, 0]]; rows not observed become rows of the identity."""
    c, r = p.C, p.r
    if observed is not None:
        on = observed.to(s.dtype)[..., None]
        c, r = c * on, _beside(r * on, torch.diag_embed(1 - on[..., 0]))
    top = _beside(c @ s, r)
    bottom = torch.nn.functional.pad(s, (0, r.shape[-1]))
    if bottom.shape[:-2] != top.shape[:-2]:
        bottom = bottom.expand(*top.shape[:-2], *bottom.shape[-2:])
    return torch.cat([top, bottom], -2)


def _contradicted(p: Step, x: Tensor, plan: _Plan, t: int, off: Tensor, e: Tensor) -> Tensor:
    """Whether an entry that had no variance left was seen away from its only value."""
    c, d = p.C, p.d
    size = plan.y[t].abs() + d.abs() + (c.abs() @ x[..., :1].abs())[..., 0]
    far = e[..., 0].abs() > torch.finfo(x.dtype).eps ** 0.6 * size
    return (far & off & plan.observed[t]).any(-1)


def _stack(xs: list[Tensor], lead: torch.Size, rank: int) -> Tensor:
    if all(x.shape[: x.dim() - rank] == lead for x in xs):
        return torch.stack(xs)
    return torch.stack([x.expand(*lead, *x.shape[x.dim() - rank :]) for x in xs])
