"""The maps that are scanned, two functions for each: `joined` for two of them, `after` for a state.

A conditional filter is that of Saerkkae and Garcia-Fernandez (2021), with its covariance and its
information as roots (Yaghoobi, Corenflos, Hassan and Saerkkae 2022). Joining two is a row of the
filter: what the second has seen is observed by the first, which is then predicted through the
second. The matrix that is solved with has singular values of at least one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from statespace.inference.lineargaussian.delta import absorb
from statespace.inference.lineargaussian.passes import Pass, joint
from statespace.inference.lineargaussian.scan.prefix import through
from statespace.linalg import lq
from statespace.shapes import join


class Conditional(NamedTuple):
    """Some rows of the filter, from a state that is known: z, z' the states before and after them.

    z' | z, y ~ N(a z + ..., u u'), and what y says of z is h z = ... + unit noise.
    """

    a: Tensor  # (T, *c, n, n)
    u: Tensor  # (T, *c, n, n)
    h: Tensor  # (T, *c, q, n)   q rows, at most n of them after a join


def rooted(
    c: Tensor, r: Tensor, s: Tensor, observed: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """F, G and S_f: one observation of N(., s s'); see `passes.joint` for the arguments."""
    m = c.shape[-2]
    lower = lq(joint(c, r, s, observed))
    return lower[..., :m, :m], lower[..., m:, :m], lower[..., m:, m:]


def conditionals_joined(first: Conditional, then: Conditional) -> Conditional:
    """The rows of both: with F F' = I + h u u' h' for the h of `then` and the u of `first`."""
    unit = torch.eye(then.h.shape[-2], dtype=then.h.dtype, device=then.h.device)
    f, g, left = rooted(then.h, unit, first.u)
    h = torch.linalg.solve_triangular(f, then.h @ first.a, upper=False)
    a = then.a @ (first.a - g @ h)
    rows = lq(join(h.mT, first.h.mT)).mT
    return Conditional(a, lq(join(then.a @ left, then.u)), rows)


def conditional_after(s: Tensor, then: Conditional) -> Tensor:
    """The filtered root after these rows, from that before them."""
    unit = torch.eye(then.h.shape[-2], dtype=then.h.dtype, device=then.h.device)
    return lq(join(then.a @ rooted(then.h, unit, s)[2], then.u))


class Affine(NamedTuple):
    """x -> a x + b; b may have the first columns of x only."""

    a: Tensor  # (T, *c, n, n)
    b: Tensor  # (T, *b, n, k)


def affine_joined(first: Affine, then: Affine) -> Affine:
    """The map x -> a' (a x + b) + b'."""
    return Affine(then.a @ first.a, then.a @ first.b + then.b)


def affine_after(x: Tensor, then: Affine) -> Tensor:
    """The value a x + b."""
    moved = then.a @ x
    moved[..., : then.b.shape[-1]] += then.b
    return moved


class Spread(NamedTuple):
    """P -> a P a' + u u', by roots."""

    a: Tensor  # (T, *c, n, n)
    u: Tensor  # (T, *c, n, q)


def spread_joined(first: Spread, then: Spread) -> Spread:
    """P -> a' (a P a' + u u') a'' + u' u''."""
    return Spread(then.a @ first.a, lq(join(then.a @ first.u, then.u)))


def spread_after(s: Tensor, then: Spread) -> Tensor:
    """A root of a S S' a' + u u'."""
    return lq(join(then.a @ s, then.u))


class Rows(NamedTuple):
    """Rows of a least-squares problem, to be put below those there are."""

    rows: Tensor  # (T, *b, q, k + 1)


def running_rows(run: Pass) -> Tensor:
    """What is known of delta before each row and after the last, (T + 1, *b, k + 1, k + 1)."""
    k = run.e.shape[-1] - 1
    begin = run.start.rows.expand(*run.batch_shape, k + 1, k + 1)
    none = run.e.new_zeros(*run.e.shape[:-2], 0, k + 1)
    maps = Rows(absorb(none, run.e))

    def joined(first: Rows, then: Rows) -> Rows:
        return Rows(_below(first.rows, then.rows))

    def after(rows: Tensor, then: Rows) -> Tensor:
        return _below(rows, then.rows)

    return torch.cat([begin[None], through(begin, maps, run.e.shape[0], joined, after)])


def _below(above: Tensor, below: Tensor) -> Tensor:
    out: Tensor = torch.linalg.qr(torch.cat([above, below], -2), mode="r").R
    return out
