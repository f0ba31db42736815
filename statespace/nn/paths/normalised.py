"""Cells with layer normalisation (Ba, Kiros and Hinton 2016, their supplement)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from statespace.beliefs import Tree
from statespace.nn.layers import orthogonal_blocks
from statespace.nn.paths.base import Stepped
from statespace.shapes import active_rows

__all__ = ["LayerNormed", "NormalisedCell"]

_GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class NormalisedCell(nn.Module):
    """One cell, LN(W x) and LN(U h) in the place of W x and U h.

        rnn    h' = f(LN(W x) + LN(U h) + b)
        lstm   the gates likewise,  c' = s(f) c + s(i) tanh(g),  h' = s(o) tanh(LN(c'))
        gru    as torch's: h' = (1 - s(z)) n + s(z) h,  n = tanh(LN(W x) + b + s(r) LN(U h))

    Args:
        cell: Its word.
        input_dim: The width of x.
        hidden_dim: H.
        activation: f.
        dtype: Of the weights.
    """

    def __init__(
        self, cell: str, input_dim: int, hidden_dim: int, activation: str, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.cell, self.activation = cell, activation
        wide = _GATES[cell] * hidden_dim
        self.entry = nn.Linear(input_dim, wide, bias=False, dtype=dtype)
        self.recurrent = nn.Linear(hidden_dim, wide, bias=False, dtype=dtype)
        self.norm_x = nn.LayerNorm(wide, dtype=dtype)  # its bias is the b of the gates
        self.norm_h = nn.LayerNorm(wide, bias=False, dtype=dtype)
        if cell == "lstm":
            self.norm_c = nn.LayerNorm(hidden_dim, dtype=dtype)
        if cell != "rnn":
            with torch.no_grad():
                self.norm_x.bias[hidden_dim : 2 * hidden_dim] = 1.0  # at first it remembers
        orthogonal_blocks(self.recurrent.weight)

    def seen(self, x: Tensor) -> Tensor:
        """LN(W x) + b, which does not wait for h."""
        found: Tensor = self.norm_x(self.entry(x))
        return found

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One step; x is what `seen` made of it."""
        h = state[0]
        back = self.norm_h(self.recurrent(h))
        if self.cell == "rnn":
            return (torch.tanh(x + back) if self.activation == "tanh" else (x + back).relu(),)
        if self.cell == "lstm":
            i, f, g, o = (x + back).chunk(4, -1)
            c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            return o.sigmoid() * self.norm_c(c).tanh(), c
        (rx, zx, nx), (rh, zh, nh) = x.chunk(3, -1), back.chunk(3, -1)
        keep = (zx + zh).sigmoid()
        return ((1 - keep) * (nx + (rx + rh).sigmoid() * nh).tanh() + keep * h,)


class LayerNormed(Stepped):
    """Cells whose pre-activations are normalised (Ba, Kiros and Hinton 2016), step by step.

    There is no fused kernel for them: a scan is a loop, for which the products with x are taken
    over all of time at once.

    Args:
        input_dim: The width of x.
        hidden_dim: H.
        cell: "rnn", "lstm" or "gru".
        layers: How many cells on top of each other.
        activation: Of an rnn.
        condition_dim: The width of a vector that every step reads beside x.
        dropout: Between layers, while a learner climbs.
        dtype: Of the weights.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        cell: str = "gru",
        *,
        layers: int = 1,
        activation: str = "tanh",
        condition_dim: int = 0,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(input_dim, hidden_dim, layers, condition_dim, dropout)
        self.kept = 2 if cell == "lstm" else 1
        widths = [input_dim + condition_dim, *[hidden_dim] * (layers - 1)]
        self.cells = nn.ModuleList(
            NormalisedCell(cell, width, hidden_dim, activation, dtype) for width in widths
        )

    @property
    def _like(self) -> Tensor:
        like: Tensor = self.cells[0].recurrent.weight  # type: ignore[union-attr,assignment]
        return like

    def _cell(self, layer: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        cell: Any = self.cells[layer]
        new: tuple[Tensor, ...] = cell(cell.seen(x), state)
        return new

    def scan(self, memory: Tree, x: Tensor, lengths: Tensor) -> tuple[Tree, Tensor]:
        """Layer by layer, and row by row inside each."""
        flat = self._flat(memory, x, lengths)
        below, ends = flat.x, []
        active = active_rows(flat.lengths, x.shape[-2])[..., None]  # (N, T, 1)
        for k in range(self.layers):
            cell: Any = self.cells[k]
            below = self.between(below) if k else below
            seen, state = cell.seen(below), tuple(kept[:, k] for kept in flat.kept)
            rows = []
            for t in range(seen.shape[1]):
                new = cell(seen[:, t], state)
                rows.append(new[0])
                state = tuple(
                    torch.where(active[:, t], *pair) for pair in zip(new, state, strict=True)
                )
            below = torch.stack(rows, 1)
            ends.append(state)
        end = [torch.stack(parts, 1) for parts in zip(*ends, strict=True)]
        return flat.memory(end), below.reshape(*flat.lead, *below.shape[-2:])
