"""What a forward pass is given and what it leaves, whichever loops make it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from statespace.inference.lineargaussian.start import Start
from statespace.inference.lineargaussian.system import Step, System, time_first
from statespace.shapes import join

Core = Literal["auto", "plain", "compiled", "scan"]


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
        scanned: made by a scan over time; what follows it is scanned, too.
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
    scanned: bool = False

    @property
    def batch_shape(self) -> torch.Size:
        return self.e.shape[1:-2]


class Plan:
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

    def mask(self) -> Tensor | None:
        """(T, *batch or 1s, m), which entries the covariances absorb; None where it is all."""
        if all(kind == "full" for kind in self.kinds):
            return None
        if "partial" in self.kinds:
            return self.observed
        whole = torch.tensor([kind == "full" for kind in self.kinds], device=self.y.device)
        return whole.reshape(-1, *(1,) * (self.y.dim() - 1)).expand(
            -1, *(1,) * (self.y.dim() - 2), self.system.m
        )

    def steps(self) -> Step:
        """Every parameter with its time axis first, of size 1 where it does not vary."""
        return Step(*(self.system.over_time(name, len(self.b)) for name in "AbQCdR"))

    def done(self, *found: Tensor, scanned: bool = False) -> Pass:
        """The pass of which e, f, gain, x, s, xf, sf were found, with nothing determined."""
        e, *rest = found
        used = self.observed.expand(e.shape[:-1])
        if not bool(used.all()):
            e = torch.where(used[..., None], e, torch.zeros_like(e))
        never = torch.zeros(self.b, dtype=torch.bool, device=e.device)
        f, gain, x, s, xf, sf = rest
        return Pass(e, f, gain, x, s, xf, sf, used, self.begin, never, scanned)


def joint(c: Tensor, r: Tensor, s: Tensor, observed: Tensor | None = None) -> Tensor:
    """[[R^1/2, C S], [0, S]] with its columns in any order: a root of Cov(y, z).

    Args:
        c: (*, m, n).
        r: a root of R, (*, m, k).
        s: a root of Cov(z), (*, n, l).
        observed: (*, m); rows not observed become rows of the identity.

    Returns:
        (*, m + n, l + k), or l + k + m columns where some are not observed.
    """
    if observed is not None:
        on = observed.to(s.dtype)[..., None]
        c, r = c * on, join(r * on, torch.diag_embed(1 - on[..., 0]))
    top = join(c @ s, r)
    bottom = torch.nn.functional.pad(s, (0, r.shape[-1]))
    if bottom.shape[:-2] != top.shape[:-2]:
        lead = torch.broadcast_shapes(bottom.shape[:-2], top.shape[:-2])
        top, bottom = (x.expand(*lead, *x.shape[-2:]) for x in (top, bottom))
    return torch.cat([top, bottom], -2)
