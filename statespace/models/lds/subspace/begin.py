"""From the slots of an LDS to the problems of a start, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, NumericalError
from statespace.inference.kalman import Kalman
from statespace.interface.methods import Repeated
from statespace.models.lds.subspace.complete import Known, first_state, reach, respond
from statespace.models.lds.subspace.few import hold_unknowable
from statespace.models.lds.subspace.realise import Realisation, horizons, principal, subspace
from statespace.models.lds.subspace.table import Table, tables
from statespace.sequences import Sequences

__all__ = ["start_values"]

# shares of Q and R that are tried beside a realisation, and without one
_WITH = ((1.0, 0.7), (1.0, 0.1), (3.0, 0.4), (10.0, 0.1))
_WITHOUT = tuple((q, r) for q in (1.0, 0.1, 1e-2, 1e-3) for r in (0.5, 0.05))
_ROWS = 400  # of each series, for the likelihoods of the grid
_ENOUGH = 20_000  # rows of series that share a model, for its start
_SHRINK = (1.0, 0.9, 0.7, 0.4, 0.0)


def start_values(lds: Any, data: Sequences, generator: Generator) -> None:
    """Sets what has no value yet.

    Args:
        lds: An LDS.
        data: The training data.
        generator: Random numbers, for what the data do not suggest.
    """
    unset = [name for name, slot in lds.slots.items() if not slot.is_set]
    if unset:
        with torch.no_grad():
            _Start(lds, data, generator, unset).run()
    hold_unknowable(lds, data)


class _Start:
    """One start: the tables of the data, and what was unset when it began."""

    def __init__(
        self, lds: Any, data: Sequences, generator: Generator, unset: Sequence[str]
    ) -> None:
        self.models = lds.batch_shape
        data = data if self.models else _some(data)
        self.lds, self.data, self.generator, self.unset = lds, data, generator, set(unset)
        self.count = math.prod(self.models)
        self.tables = tables(data, self.models, self._centre())
        longest = min(data.T, _ROWS)
        self.short = data.rows(0, longest) if longest < data.T else data

    # ------------------------------------------------------------------ slots, model by model

    def _read(self, name: str) -> Tensor:
        """(models, *event) float64: the value, or its held part; the mean over time if varying."""
        slot = self.lds.slots[name]
        value = slot.value() if slot.is_set and name not in self.unset else slot.held
        if slot.varies:
            value = value.mean(-len(slot.event) - 1)
        return (
            value.detach()
            .double()
            .expand(*self.models, *slot.event)
            .reshape(self.count, *slot.event)
        )

    def _now(self, name: str) -> Tensor:
        """The value that is set by now, (models, *event)."""
        slot = self.lds.slots[name]
        value = slot.value().mean(-len(slot.event) - 1) if slot.varies else slot.value()
        return (
            value.detach()
            .double()
            .expand(*self.models, *slot.event)
            .reshape(self.count, *slot.event)
        )

    def _write(self, name: str, values: Sequence[Tensor] | Tensor) -> None:
        slot = self.lds.slots[name]
        whole = values if isinstance(values, Tensor) else torch.stack(list(values))
        value = whole.reshape(*self.models, *slot.event)
        if slot.n_free:
            slot.take_(value.to(slot.held))

    def _centre(self) -> Tensor:
        """D where it is held, NaN where the level is wanted from the data."""
        slot = self.lds.slots["d"]
        held = self._read("d")
        if "d" in self.unset:
            free = slot.pattern.free.to(held.device)
            held = torch.where(free, torch.full_like(held, torch.nan), held)
        return held.reshape(*self.models, *slot.event)

    # ------------------------------------------------------------------ the course of it

    def run(self) -> None:
        """Tries every realisation with every share of noise; keeps the likeliest."""
        names = [n for n in self.unset if self.lds.slots[n].n_free]
        best: dict[str, Tensor] = {}
        highest = torch.full((self.count,), -math.inf, dtype=torch.float64)
        for found in self._realisations():
            self._coefficients(found)
            noise = self._noise(found)
            for shares in self._grid(known=found[0] is None):
                for name, whole in noise.items():
                    self._write(name, shares["QR".index(name)] * whole)
                value = self._likelihood()
                better = value > highest
                for name in names:
                    theta = self.lds.slots[name].theta.detach()
                    pick = better.view(*self.models, 1).to(theta.device)
                    best[name] = torch.where(pick, theta, best.get(name, theta))
                highest = torch.where(better, value, highest)
        for name, theta in best.items():
            self.lds.slots[name].theta.copy_(theta)

    def _grid(self, *, known: bool) -> Sequence[tuple[float, float]]:
        """Shares of Q and R that are worth a look."""
        unset = {name for name in self.unset & {"Q", "R"} if self.lds.slots[name].n_free}
        grid = _WITHOUT if known else _WITH
        if len(unset) == 2:
            return grid
        if not unset or not bool(self._read("R" if "Q" in unset else "Q").any()):
            return grid[:1]  # beside nothing a share is a scale, which a learner finds at once
        which = 0 if "Q" in unset else 1
        return list({pair[which]: pair for pair in grid}.values())

    def _realisations(self) -> Iterator[list[Realisation | None]]:
        """Proposals for every model; None stands for A and C as they are known."""
        if not self.unset & {"A", "C"}:
            yield [None] * self.count
            return
        rest = [self._principal(i, table) for i, table in enumerate(self.tables)]
        each = [horizons(table, self.lds.latent_dim) for table in self.tables]
        for turn in range(max(len(ks) for ks in each)):
            found = [
                self._identified(i, table, ks[turn]) if turn < len(ks) else None
                for i, (table, ks) in enumerate(zip(self.tables, each, strict=True))
            ]
            if any(f is not None for f in found):
                yield [r if f is None else f for f, r in zip(found, rest, strict=True)]
        yield list(rest)

    def _wanted(self, name: str) -> bool:
        """Whether every entry is wanted, none tied."""
        return name in self.unset and self.lds.slots[name].pattern.plain

    def _identified(self, i: int, table: Table, k: int) -> Realisation | None:
        if not self._wanted("A"):
            return None
        if self._wanted("C"):
            found = subspace(table, self.lds.latent_dim, k)
            q = None if "Q" in self.unset else self._read("Q")[i]
            if found is None or q is None:
                return found
            return found.driven_by(q) if _definite(q) else None
        if "C" in self.unset or "Q" not in self.unset:
            return None
        found = subspace(table, self.lds.latent_dim, k)
        c = self._read("C")[i] / table.spread[:, None]
        return None if found is None else found.seen_through(c)

    def _principal(self, i: int, table: Table) -> Realisation:
        n = self.lds.latent_dim
        variance = torch.ones(n, dtype=torch.float64, device=table.y.device)
        if "C" not in self.unset:
            c = self._read("C")[i] / table.spread[:, None]
            variance = 1 / reach(torch.zeros(n, n).to(c), c).square()
        elif "Q" not in self.unset:
            q = self._read("Q")[i].diagonal()
            variance = torch.where(q > 0, q, torch.ones_like(q))
        return principal(table, n, variance, self.generator)

    def _coefficients(self, found: Sequence[Realisation | None]) -> None:
        """A, C, then B, b, D, d, then the first state, each read back as its slot keeps it."""
        pairs = list(zip(found, self.tables, strict=True))
        if "A" in self.unset:
            self._write("A", [r.a for r, _ in pairs if r is not None])
        if "C" in self.unset:
            self._write("C", [r.c * t.spread[:, None] for r, t in pairs if r is not None])
        self.a, c = self._now("A"), self._now("C")
        self.c = [c[i] / t.spread[:, None] for i, t in enumerate(self.tables)]
        moves, reads = self._responses()
        for name, values in (("B", moves), ("D", reads)):
            if name in self.unset:
                parts = [
                    v[:, :-1] / t.input_spread for v, t in zip(values, self.tables, strict=True)
                ]
                scale = [t.spread[:, None] if name == "D" else 1.0 for t in self.tables]
                self._write(name, [v * s for v, s in zip(parts, scale, strict=True)])
        if "b" in self.unset:
            self._write("b", [v[:, -1] for v in moves])
        if "d" in self.unset:
            pairs_ = zip(reads, self.tables, strict=True)
            self._write("d", [t.level + t.spread * v[:, -1] for v, t in pairs_])
        if "initial_mean" in self.unset:
            each = zip(self.tables, self.a, self.c, moves, reads, strict=True)
            self._write("initial_mean", [first_state(*parts) for parts in each])

    def _responses(self) -> tuple[list[Tensor], list[Tensor]]:
        """[B b] and [D d] of every model, in scaled units."""
        moves, reads = [], []
        big_b, b, big_d, d = (self._read(n) for n in ("B", "b", "D", "d"))
        for i, t in enumerate(self.tables):
            level = d[i] - t.level
            move = Known(
                torch.cat([big_b[i] * t.input_spread, b[i][:, None]], -1), self._free("B", "b", t)
            )
            read = Known(
                torch.cat([big_d[i] * t.input_spread, level[:, None]], -1) / t.spread[:, None],
                self._free("D", "d", t),
            )
            for known in (move, read):
                known.value[known.free] = 0.0
            simple = t.p == 0 and "b" not in self.unset
            pair = (
                (move.value, read.value) if simple else respond(t, self.a[i], self.c[i], move, read)
            )
            moves.append(pair[0])
            reads.append(pair[1])
        return moves, reads

    def _free(self, matrix: str, vector: str, table: Table) -> Tensor:
        parts = []
        for name in (matrix, vector):
            free = self.lds.slots[name].pattern.free.to(table.y.device)
            free = free if name in self.unset else torch.zeros_like(free)
            parts.append(free if free.dim() == 2 else free[:, None])
        return torch.cat(parts, -1)

    def _noise(self, found: Sequence[Realisation | None]) -> dict[str, Tensor]:
        """Q and R that would each explain all there is, by name; sets the first state's spread."""
        q, r, p = [], [], []
        for i, (one, t) in enumerate(zip(found, self.tables, strict=True)):
            unit = 1 / reach(self.a[i], self.c[i])
            own = (1 - self.a[i].diagonal().square()).clamp(0.05, 1.0)
            floor = torch.diag(1e-3 * unit.square())
            q.append(torch.diag(own * unit.square()) if one is None else one.q + floor)
            noise = torch.eye(t.m, dtype=unit.dtype, device=unit.device) if one is None else one.r
            noise = noise + 1e-4 * torch.eye(t.m, dtype=unit.dtype, device=unit.device)
            r.append(noise * t.spread[:, None] * t.spread)
            p.append(torch.diag(unit.square()))
        if "initial_cov" in self.unset:
            self._write("initial_cov", p)
        return {name: torch.stack(x) for name, x in (("Q", q), ("R", r)) if name in self.unset}

    def _likelihood(self) -> Tensor:
        """Of each model (models,), over the first rows; A shrinks until there is one."""
        slot = self.lds.slots["A"]
        theta = slot.theta.detach().clone() if "A" in self.unset and slot.n_free else None
        for shrink in _SHRINK:
            if theta is not None:
                slot.theta.copy_(shrink * theta)
            try:
                value = self._value()
            except (InputError, NumericalError):  # not stationary, or it overflows
                if theta is None:
                    break
                continue
            batch = torch.broadcast_shapes(value.shape, self.models)
            total = value.expand(batch).sum_to_size(self.models) if self.models else value.sum()
            return torch.nan_to_num(total.reshape(-1).cpu(), nan=-math.inf)
        return torch.full((self.count,), -torch.finfo(torch.float64).max, dtype=torch.float64)

    def _value(self) -> Tensor:
        """Log p of the first rows, (*batch,)."""
        short = None if self._repeated is None else self._repeated.value()
        if short is not None:
            return torch.tensor(short, dtype=torch.float64)
        return Kalman().log_likelihood(self.lds, self.short, self.generator).double()

    @cached_property
    def _repeated(self) -> Repeated | None:
        return Kalman().repeated(self.lds, self.short)


def _some(data: Sequences) -> Sequences:
    """Enough of many series of one model for a start: some of them, evenly spread.

    All of them where that would leave little of a column.
    """
    series, rows = math.prod(data.batch_shape), data.values.shape[-2]
    wanted = max(1, _ENOUGH // rows)
    if len(data.batch_shape) != 1 or wanted >= series:
        return data
    part = data.select(torch.arange(wanted, device=data.lengths.device) * series // wanted)
    seen = part.observed.flatten(0, -2).sum(0)  # of each column
    return part if int(seen.min()) >= _ENOUGH // 10 else data


def _definite(q: Tensor) -> bool:
    return bool(torch.linalg.cholesky_ex(q).info == 0)
