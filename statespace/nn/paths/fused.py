"""Cells of torch's, and their fused kernels on the same weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from statespace.beliefs import Tree
from statespace.interface import is_climbing
from statespace.nn.layers import orthogonal_start
from statespace.nn.paths.base import Flat, Stepped, ended
from statespace.nn.paths.elman import elman

__all__ = ["Fused"]


class Fused(Stepped):
    """A cell of torch's, all steps of which one kernel can take.

        rnn    h' = f(W x + U h + b)                                          (Elman)
        lstm   c' = s(f) c + s(i) tanh(g),   h' = s(o) tanh(c')               (i, f, g, o affine)
        gru    h' = (1 - s(z)) n + s(z) h,   n = tanh(W x + b + s(r) (U h + b'))

    The GRU is torch's: its reset gate s(r) acts behind the recurrent product U h, where Cho et
    al. (2014) and many lectures have it before, U (r h); and its update gate s(z) says how much of
    h is *kept*, as theirs does, where Chung et al. (2014) let it say how much is replaced.

    Recurrent weights begin orthogonal, gate by gate; biases begin at zero, those of the gate
    that keeps (an LSTM's forget gate, a GRU's update gate) at one.

    Args:
        input_dim: The width of x.
        hidden_dim: H.
        cell: "rnn", "lstm" or "gru".
        layers: How many cells on top of each other.
        activation: f, "tanh" or "relu"; of an rnn.
        condition_dim: The width of a vector that every step of a series reads beside x.
        dropout: Between layers, while a learner climbs.
        dtype: Of the weights.

    Example:
        >>> path = Fused(2, 5, "lstm", dtype=torch.float64)
        >>> x, lengths = torch.ones(3, 7, 2).double(), torch.tensor([7, 4, 1])
        >>> end, h = path.scan(path.start((3,), ()), x, lengths)
        >>> torch.equal(h[1, 3], path.read(end)[1])
        True
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
        self.cell, self.activation = cell, activation
        self.kept = 2 if cell == "lstm" else 1
        makes: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
        extra: dict[str, Any] = {"nonlinearity": activation} if cell == "rnn" else {}
        extra |= {"dropout": self.between.p} if layers > 1 else {}
        width = input_dim + condition_dim
        self.kernel = makes[cell](width, hidden_dim, layers, batch_first=True, dtype=dtype, **extra)
        orthogonal_start(self.kernel, gated=cell != "rnn")

    @property
    def _like(self) -> Tensor:
        like: Tensor = self.kernel.weight_hh_l0
        return like

    def _weights(self, layer: int) -> list[Tensor]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self.kernel, f"{name}_l{layer}") for name in names]

    def _cell(self, layer: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        weights = self._weights(layer)
        if self.cell == "lstm":
            return torch.lstm_cell(x, state, *weights)
        if self.cell == "gru":
            return (torch.gru_cell(x, state[0], *weights),)
        step = torch.rnn_tanh_cell if self.activation == "tanh" else torch.rnn_relu_cell
        return (step(x, state[0], *weights),)

    def scan(self, memory: Tree, x: Tensor, lengths: Tensor) -> tuple[Tree, Tensor]:
        """One call of torch's kernel; series of unequal lengths are packed."""
        flat = self._flat(memory, x, lengths)
        begin = tuple(kept.movedim(1, 0).contiguous() for kept in flat.kept)  # (L, N, H)
        h, end = self._run(flat, begin)
        h = h.reshape(*flat.lead, *h.shape[-2:])
        return flat.memory([part.movedim(0, 1) for part in end]), h

    def _elman(self, x: Tensor) -> bool:
        """Whether the scan of this package's is the quicker one: where gradients are wanted."""
        noisy = self.layers > 1 and self.kernel.training and self.kernel.dropout > 0
        plain = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        return self.cell == "rnn" and torch.is_grad_enabled() and plain and not noisy

    def _by_layers(self, flat: Flat, begin: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same, of Elman's network."""
        h, ends = flat.x, []
        for k, start in enumerate(begin):
            h = elman(h, start, self._weights(k), self.activation)
            ends.append(ended(h, start, flat.lengths)[1])
        return h, (torch.stack(ends),)

    def _run(self, flat: Flat, begin: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All h, (N, T, H), and what is kept at each series' own end, (L, N, H)."""
        self.kernel.train(is_climbing())  # its dropout between layers is the noise of a learner
        start = begin if self.cell == "lstm" else begin[0]
        T, lengths = flat.x.shape[1], flat.lengths
        if self._elman(flat.x):
            return self._by_layers(flat, begin[0])
        if bool((lengths == T).all()):
            h, end = self.kernel(flat.x, start)
            return h, end if self.cell == "lstm" else (end,)
        if self.layers == 1 and self.cell != "lstm":  # all that is kept is in h
            h, last = ended(self.kernel(flat.x, start)[0], start[0], lengths)
            return h, (last[None],)
        # a series without rows takes one, which is thrown away
        packed = pack_padded_sequence(
            flat.x, lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False
        )
        out, end = self.kernel(packed, start)
        h, _ = pad_packed_sequence(out, batch_first=True, total_length=T)
        end = end if self.cell == "lstm" else (end,)
        goes = (lengths > 0)[:, None]
        return h, tuple(torch.where(goes, a, b) for a, b in zip(end, begin, strict=True))
