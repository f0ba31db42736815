"""The values that cross the contract: what a density may see, what arrives, what is carried on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Generator, Tensor

from statespace.beliefs import Belief, Finite, Real, Space, Switching, Tree

if TYPE_CHECKING:
    from statespace.interface.methods import Method

__all__ = ["Context", "Finite", "Info", "Kind", "Real", "Row", "Space", "State", "Switching"]

Kind = Literal["exact", "approximate", "estimate", "lower bound"]


@dataclass(frozen=True)
class Context:
    """What a density may look at besides z: never y_t, never an encoding, never the future.

    Attributes:
        t: The row, 0 for the first: () for one step, (T,) for all of time.
        u: Inputs, (*batch, p) or (*batch, T, p), zero wide where there are none.
        h: What is read from the memory, ([*sample,] *batch[, T], H), zero wide likewise.
    """

    t: Tensor
    u: Tensor
    h: Tensor

    @property
    def over_time(self) -> bool:
        """Whether the context is of all of time, so that T is the last batch axis."""
        return self.t.dim() == 1

    def rows(self, start: int, stop: int | None) -> Context:
        """Some of the rows of a context over time."""
        cut = slice(start, stop)
        return Context(self.t[cut], self.u[..., cut, :], self.h[..., cut, :])

    def row(self, t: int) -> Context:
        """One row of a context over time, as the context of one step."""
        return Context(self.t[t], self.u[..., t, :], self.h[..., t, :])


@dataclass(frozen=True)
class Row:
    """What arrives at one step.

    Attributes:
        y: (*batch, m), a harmless number where not observed.
        observed: (*batch, m), which entries count.
        active: (*batch,), False once a series is over: its state then stands still.
        u: (*batch, p).
        e: A guide's encoding, leaves (*batch, ...): seen by proposals, never by densities.
    """

    y: Tensor
    observed: Tensor
    active: Tensor
    u: Tensor
    e: Tree = ()


@dataclass(frozen=True)
class State:
    """All that the next step needs: kept, it resumes where it was, random numbers included.

    A state is a value. A step makes a new one and leaves the old one as it was, so that several
    futures can be tried from one present.

    Attributes:
        t: Rows absorbed.
        belief: p(z_t | y up to t).
        memory: Leaves ([*sample,] *batch, .): with the sample axis only where it hangs on z or on
            a drawn y.
        y: ([*sample,] *batch, m), y_t with what was missing drawn; zero wide if never read.
        generator: The stream of random numbers.
        method: The method whose state it is; given by the verbs.
        model: A description of the model whose state it is; given by the verbs.
        batch_shape: Series; given by the verbs.
        guide: Where a guide that remembers stands, leaves (*batch, .); () without one.
    """

    t: int
    belief: Belief
    memory: Tree
    y: Tensor
    generator: Generator
    method: Method | None = None
    model: str = ""
    batch_shape: torch.Size = field(default=torch.Size())
    guide: Tree = ()

    def __repr__(self) -> str:
        whose = "" if self.method is None else f"{self.method!r}, {self.model}, "
        return f"State(t={self.t}, {whose}batch={tuple(self.batch_shape)})"


@dataclass(frozen=True)
class Info:
    """What a person wants to see of one step; T of them side by side are `Filtered`.

    Attributes:
        predicted: p(z_t | y before t).
        belief: p(z_t | y up to t).
        increment: (*batch,), log p(y_t | y before t), zero where nothing was observed.
        y_mean: (*batch, m), one step ahead; None where the method does not give it.
        y_cov: (*batch, m, m), likewise.
        extra: What a method wants to show besides (effective sample sizes, say).
    """

    predicted: Belief
    belief: Belief
    increment: Tensor
    y_mean: Tensor | None = None
    y_cov: Tensor | None = None
    extra: Any = None

    def __repr__(self) -> str:
        return f"Info({type(self.belief).__name__}, batch={tuple(self.increment.shape)})"
