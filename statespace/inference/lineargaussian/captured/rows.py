"""Single rows in operations that a graph records: elementwise, reductions and products only.

Library factorisations may wait for the device or allocate on the host, which ends a recording, so
triangularisation and substitution are written out here over columns, batched over everything else.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from statespace.inference.lineargaussian.passes import joint
from statespace.shapes import join

__all__ = ["adjoint_row", "filter_row", "lower", "moments_row", "substituted"]

Arrays = Mapping[str, Tensor]
State = tuple[Tensor, ...]


def lower(m: Tensor) -> Tensor:
    """`linalg.lq` by Householder reflections: (..., n, k) -> (..., n, n), of any rank.

    Row j is reflected onto its own entry j, along v = x + sign(x_1) |x| e_1 with x its entries from
    j on (Golub and Van Loan 2013, section 5.1), scaled so that no square overflows or underflows.
    """
    n, k = m.shape[-2:]
    m = torch.nn.functional.pad(m, (0, n - k)) if k < n else m.clone()
    tiny = torch.finfo(m.dtype).tiny
    for j in range(min(n, m.shape[-1] - 1)):
        x = m[..., j, j:]
        v = x / _size(x, torch.inf).clamp_min(tiny)
        v[..., :1] += torch.copysign(_size(v), v[..., :1])
        v = v / _size(v).clamp_min(tiny)
        rest = m[..., j:, j:]
        rest.addcmul_(rest @ v[..., None], v[..., None, :], value=-2)
    return m[..., :n].tril()


def _size(x: Tensor, power: float = 2) -> Tensor:
    return torch.linalg.vector_norm(x, power, dim=-1, keepdim=True)


def substituted(f: Tensor, right: Tensor) -> Tensor:
    """F^-1 right for a lower-triangular F, (..., m, m) and (..., m, c)."""
    known: list[Tensor] = []
    for i in range(f.shape[-1]):
        value = right[..., i : i + 1, :]
        if known:
            value = value - f[..., i : i + 1, :i] @ torch.cat(known, -2)
        known.append(value / f[..., i : i + 1, i : i + 1])
    return torch.cat(known, -2)


def observed(p: Arrays, x: Tensor, s: Tensor) -> tuple[Tensor, ...]:
    """E, F, G, and the state after the observations of a row; `on` is one where there are any."""
    on = p["on"][..., None]
    c = p["C"] * on
    m = c.shape[-2]
    both = lower(joint(p["C"], p["R"], s, p["on"]))
    f, g, s = both[..., :m, :m], both[..., m:, :m], both[..., m:, m:]
    residual = -(c @ x)
    residual[..., :1] += (p["y"] - p["d"])[..., None]
    e = substituted(f, residual)
    return e, f, g, x + g @ e, s


def moments_row(p: Arrays, state: State) -> tuple[State, State]:
    """A row of the filter: predicted from the row before, then observed; all of it comes out."""
    x, s = state
    x = p["A"] @ x
    x[..., :1] += p["b"][..., None]
    s = lower(join(p["A"] @ s, p["Q"]))
    e, f, g, xf, sf = observed(p, x, s)
    return (e, f, g, x, s, xf, sf), (xf, sf)


def filter_row(p: Arrays, state: State) -> tuple[State, State]:
    """The same; e, F and G come out."""
    out, state = moments_row(p, state)
    return out[:3], state


def adjoint_row(p: Arrays, state: State) -> tuple[State, State]:
    """A row of r and N: those at its prediction come out, those after the row before go on."""
    r, big = state
    e, g, h, a = (p[name] for name in "eghA")
    r = r + h.mT @ (e - g.mT @ r)
    left = p["left"]
    big = h.mT @ h + left.mT @ big @ left
    return (r, big), (a.mT @ r, a.mT @ big @ a)
