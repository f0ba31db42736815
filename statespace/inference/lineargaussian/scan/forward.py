"""The forward pass as two scans: of filtered covariances, then of means with their columns.

Covariances: row t from a state that is known exactly, [[C Q^1/2, R^1/2], [Q^1/2, 0]], is a
conditional filter, and a scan over these gives every S_f. From them the gains of all rows follow at
once, as in the loop. With L = I - G H, H = F^-1 C, means and columns are an affine recursion,

    x_{t+1} = A L x_t + A G F^-1 (y - d) + b,

scanned in turn; e = F^-1 (y - d - C x) is then formed as the loop forms it.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from statespace.inference.lineargaussian.passes import Pass, Plan
from statespace.inference.lineargaussian.scan.maps import (
    Affine,
    Conditional,
    affine_after,
    affine_joined,
    conditional_after,
    conditionals_joined,
    rooted,
)
from statespace.inference.lineargaussian.scan.prefix import through
from statespace.inference.lineargaussian.system import Step
from statespace.inference.lineargaussian.triangular import too_small
from statespace.linalg import lq
from statespace.shapes import join

__all__ = ["scan_forward"]

_ROUNDING = 32  # units of rounding beside which a root is nothing


def scan_forward(plan: Plan) -> Pass | None:
    """Run over all rows at once.

    Returns:
        The pass, as the loop leaves it. None where the loop must answer: a model without states,
        an innovation without variance to rounding, overflow.
    """
    if min(plan.system.n, plan.system.m) == 0:
        return None
    p, on = plan.steps(), plan.mask()
    roots = _roots(plan, p, on)
    if roots is None:
        return None
    s, f, g, sf = roots
    x, e = _means(plan, p, on, f, g)
    if not bool(torch.isfinite(e).all() & torch.isfinite(f).all() & torch.isfinite(x).all()):
        return None
    xf = x + g @ e
    return plan.done(e, f, g, x, s, xf, sf, scanned=True)


def _later(x: Tensor) -> Tensor:
    """All rows but the first, of what may not vary."""
    return x[1:] if x.shape[0] > 1 else x


def _roots(plan: Plan, p: Step, on: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """S, F, G and S_f of all rows, (T, *c, ...); None where an innovation has no variance."""
    n, rows = plan.system.n, plan.y.shape[0]
    s = plan.begin.s.expand(1, *plan.c, n, n)
    least: Tensor | None = None
    if rows > 1:
        later = Step(*map(_later, p))
        maps, least = _conditionals(later, None if on is None else _later(on), s)
        first = rooted(p.C[:1], p.r[:1], s, None if on is None else on[:1])[2]
        sf = through(first[0], maps, rows - 1, conditionals_joined, conditional_after)
        sf = torch.cat([first, sf[:-1]])
        s = torch.cat([s, lq(join(later.A @ sf, later.q))])
    f, g, sf = rooted(p.C, p.r, s, on)
    if bool(too_small(f).any()):
        return None
    if least is not None:
        close = f.diagonal(dim1=-2, dim2=-1).abs() < least
        if bool((close if on is None else close & on).any()):
            return None
    return s, f, g, sf


def _conditionals(p: Step, on: Tensor | None, s: Tensor) -> tuple[Conditional, Tensor | None]:
    """Each row from a state that is known: what it makes of it, and what it says of it.

    Where noise alone gives an output no variance (R = 0, say, and C Q C' = 0), such a row says
    something exact of the state before it, which is infinite information. It is made finite: R is
    widened by rounding beside the variance that the output has on its way. In what is filtered that
    is below rounding wherever the innovation is much wider.

    Returns:
        The maps, and the pivots (*c, m) of F from which on it is; None where nothing was widened.
    """
    eps = torch.finfo(s.dtype).eps
    f, g, u = rooted(p.C, p.r, p.q, on)
    size = [p.C @ x for x in (s, p.q, p.A @ p.q, p.A @ (p.A @ p.q))]
    width = reduce(torch.maximum, (x.norm(dim=-1).amax(0) for x in size))
    floor = _ROUNDING * eps * width
    narrow = f.diagonal(dim1=-2, dim2=-1).abs() < floor
    least = None
    if bool(narrow.any()):
        f, g, u = rooted(p.C, join(p.r, torch.diag_embed(narrow * floor)), p.q, on)
        least = narrow.any(0) * floor * eps**-0.4
    c = p.C if on is None else p.C * on.to(p.C.dtype)[..., None]
    h = torch.linalg.solve_triangular(f, c @ p.A, upper=False)
    return Conditional(p.A - g @ h, u, h), least


def _means(plan: Plan, p: Step, on: Tensor | None, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The x and e of all rows, (T, *b, ..., 1 + k)."""
    rows = plan.y.shape[0]
    x = plan.begin.x.expand(1, *plan.b, *plan.begin.x.shape[-2:])
    y = (plan.y - p.d)[..., None]
    c = p.C
    if on is not None:
        seen = on.to(y.dtype)[..., None]
        c, y = c * seen, y * seen
    if rows > 1:
        later = Step(*map(_later, p))
        h = torch.linalg.solve_triangular(f, c, upper=False)
        a = later.A @ (torch.eye(plan.system.n, dtype=h.dtype, device=h.device) - g @ h)[:-1]
        moved = later.A @ (g @ torch.linalg.solve_triangular(f, y, upper=False))[:-1]
        maps = Affine(a, moved + later.b[..., None])
        x = torch.cat([x, through(x[0], maps, rows - 1, affine_joined, affine_after)])
    residual = -(c @ x)
    residual[..., :1] += y
    return x, torch.linalg.solve_triangular(f, residual, upper=False)
