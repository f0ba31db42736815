"""The table of deep cases: models made of networks, with data. Promises run over all of it.

A new deep model inherits them by adding its rows here. Tags: "exact" where nothing is latent and
all that is fed back was observed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import statespace as ss

F64 = torch.float64
NAN = float("nan")


@dataclass(frozen=True)
class DeepCase:
    """A model and data for it.

    Attributes:
        name: What is particular about it.
        make: Builds the model, always with the same weights.
        y: (*batch, T, m), NaN (or `mask`) where not observed.
        u: Inputs (*batch, T + 3, p), three rows for forecasts, or None.
        lengths: Rows of each series, or None.
        condition: One per series, or None.
        mask: Of a y that holds categories.
        tags: See the module.
    """

    name: str
    make: Callable[..., Any]
    y: Tensor
    u: Tensor | None = None
    lengths: Tensor | None = None
    condition: Tensor | None = None
    mask: Tensor | None = None
    tags: frozenset[str] = field(default_factory=frozenset)

    @property
    def T(self) -> int:
        return self.y.shape[-2]

    @property
    def exact(self) -> bool:
        return "exact" in self.tags

    def data(self, dtype: torch.dtype = F64) -> dict[str, Any]:
        """Arguments of a data verb."""

        def cast(x: Tensor) -> Tensor:
            return x.to(dtype) if x.is_floating_point() else x

        found: dict[str, Any] = {"y": cast(self.y)}
        for name in ("lengths", "condition", "mask"):
            value = getattr(self, name)
            if value is not None:
                found[name] = cast(value)
        if self.u is not None:
            found["inputs"] = cast(self.u[..., : self.T, :])
        return found

    def series(self) -> list[dict[str, Any]]:
        """The arguments for each series alone, cut at its length; of one batch axis."""
        found = []
        for i in range(len(self.y)):
            end = self.T if self.lengths is None else int(self.lengths[i])
            one = {k: v[i] for k, v in self.data().items() if k != "lengths"}
            rows = ("y", "inputs", "mask")
            found.append({k: v[:end] if k in rows else v for k, v in one.items()})
        return found


def rows(data: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Some rows of the arguments of a verb; the condition belongs to the first."""
    found = {k: v[..., start:stop, :] for k, v in data.items() if k in ("y", "inputs", "mask")}
    return found | ({"condition": data["condition"]} if "condition" in data and not start else {})


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def _tokens(seed: int, size: int, *shape: int) -> Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(seed))


def _counts(seed: int, *shape: int) -> Tensor:
    return _tokens(seed, 5, *shape).double()


def _holed(y: Tensor, *places: tuple[int, ...]) -> Tensor:
    y = y.clone()
    for place in places:
        y[place] = NAN
    return y


def _rnn(name: str, y: Tensor, *tags: str, data: dict[str, Any] | None = None, **how: Any) -> Any:
    data = data or {}
    p = data["u"].shape[-1] if "u" in data else 0

    def make(dtype: torch.dtype = F64) -> Any:
        return ss.AutoregressiveRNN(y.shape[-1], p, hidden_dim=5, dtype=dtype, seed=1, **how)

    return DeepCase(name, make, y, tags=frozenset(tags), **data)


def _deep(kind: str, name: str, y: Tensor, data: dict[str, Any] | None = None, **how: Any) -> Any:
    data = data or {}
    p = data["u"].shape[-1] if "u" in data else 0

    def make(dtype: torch.dtype = F64) -> Any:
        build = getattr(ss, kind)
        return build(2, y.shape[-1], p, hidden_dim=4, dtype=dtype, seed=1, **how)

    return DeepCase(f"{kind}, {name}", make, y, tags=frozenset({"latent", kind}), **data)


RAGGED = {"lengths": torch.tensor([7, 4, 1])}
HALF = torch.tensor([True, False, True, True, True, True, True])[:, None].expand(3, 7, 1)

CASES = [
    _rnn("gru, one series", _normal(1, 7, 2), "exact"),
    _rnn("lstm, ragged, inputs", _normal(2, 3, 7, 2), "exact", cell="lstm", layers=2,
         data={"u": _normal(3, 3, 10, 2), **RAGGED}),
    _rnn("elman, two batch axes", _normal(4, 2, 2, 7, 1), "exact", cell="rnn"),
    _rnn("layer norm, condition, ragged", _normal(5, 3, 7, 2), "exact", layer_norm=True,
         cell="lstm", condition_dim=2, data={"condition": _normal(6, 3, 2), **RAGGED}),
    _rnn("bernoulli, condition", _counts(7, 3, 7, 3).clamp_max(1), "exact", family="bernoulli",
         condition_dim=2, data={"condition": _normal(8, 3, 2)}),
    _rnn("poisson, output alone", _counts(9, 3, 7, 2), "exact", family="poisson",
         feedback="output", layers=2, data=RAGGED),
    _rnn("student, no feedback, gaps", _holed(_normal(10, 3, 7, 2), (0, 2, 1), (1, 0)), "exact",
         family="student_t", feedback="none", data={"u": _normal(11, 3, 10, 1), **RAGGED}),
    _rnn("mixture, inputs", _normal(12, 3, 7, 2), "exact", family="mixture", num_components=3,
         data={"u": _normal(13, 3, 10, 1)}),
    _rnn("two rows beside the memory, ragged, inputs", _normal(43, 3, 7, 2), "exact", skip=2,
         data={"u": _normal(44, 3, 10, 2), **RAGGED}),
    _rnn("a row beside no memory", _normal(45, 3, 7, 2), "exact", skip=1, feedback="output"),
    _rnn("entries that hang together", _normal(46, 3, 7, 2), "exact", family="multivariate_normal"),
    _rnn("tokens, ragged", _tokens(14, 4, 3, 7, 1), "exact", family="categorical",
         num_categories=4, data=RAGGED),
    _rnn("gaps that are fed back", _holed(_normal(15, 3, 7, 2), (0, 2, 1), (1, 2)),
         cell="lstm", data={"lengths": torch.tensor([7, 7, 4])}),
    _rnn("a gap and the rest", _holed(_normal(18, 3, 7, 2), (0, 1, 1), (1, 2))),
    _rnn("a gap in the last row but one", _holed(_normal(19, 3, 7, 2), (0, 5, 0))),
    _rnn("a gap in the last row", _holed(_normal(16, 3, 7, 2), (0, 6, 1), (2, 0)), "exact",
         data=RAGGED),
    _rnn("tokens, gaps", _tokens(17, 4, 3, 7, 1), family="categorical", num_categories=4,
         data={"mask": HALF, **RAGGED}),
    _rnn("dropout, two layers", _normal(36, 3, 7, 2), "exact", layers=2, dropout=0.3),
    _deep("VRNN", "one series", _normal(20, 7, 2)),
    _deep("VRNN", "lstm, ragged, inputs, condition", _normal(21, 3, 7, 2), cell="lstm",
          condition_dim=2,
          data={"u": _normal(22, 3, 10, 1), "condition": _normal(23, 3, 2), **RAGGED}),
    _deep("VRNN", "gaps that are fed back", _holed(_normal(24, 3, 7, 2), (0, 2, 1), (1, 2))),
    _deep("VRNN", "tokens, anticausal", _tokens(25, 4, 3, 7, 1), family="categorical",
          num_categories=4, encoder="anticausal"),
    _deep("LSTMStateSpace", "gaps, inputs", _holed(_normal(26, 3, 7, 2), (0, 2, 1), (1, 2)),
          data={"u": _normal(27, 3, 10, 1), **RAGGED}),
    _deep("LSTMStateSpace", "two batch axes, product", _normal(28, 2, 2, 7, 1),
          posterior="product"),
    _deep("SRNN", "ragged, inputs", _normal(29, 3, 7, 2),
          data={"u": _normal(30, 3, 10, 1), **RAGGED}),
    _deep("SRNN", "causal, gaps", _holed(_normal(31, 3, 7, 2), (0, 2, 1), (1, 2)),
          encoder="causal"),
    _deep("DeepKalmanFilter", "notes, gaps, inputs", _counts(32, 3, 7, 3).clamp_max(1),
          family="bernoulli", data={"u": _normal(33, 3, 10, 2), **RAGGED}),
    _deep("DeepKalmanFilter", "both ways, gaps", _holed(_normal(34, 3, 7, 2), (0, 2, 1), (1, 2)),
          encoder="both"),
    _deep("DeepKalmanFilter", "y_{t-1} too, gaps, inputs",
          _holed(_normal(36, 3, 7, 2), (0, 2, 1), (1, 2)), autoregressive=True,
          data={"u": _normal(37, 3, 10, 1), **RAGGED}),
    _deep("DeepKalmanFilter", "y_{t-1} too, causal", _normal(38, 2, 7, 2), autoregressive=True,
          encoder="causal", posterior="mlp"),
    _deep("DeepKalmanFilter", "sizes of their own", _counts(39, 3, 7, 3).clamp_max(1),
          family="bernoulli", transition_dim=(3, 5), emission_dim=[6, 3], activation="relu",
          encoder_dim=6, encoder_cell="rnn", encoder_layers=2, encoder_activation="relu",
          dropout=0.2, data=RAGGED),
    _deep("VRNN", "two rows beside the memory, ragged", _normal(41, 3, 7, 2), skip=2,
          cell="lstm", data=RAGGED),
    _deep("DeepKalmanFilter", "entries that hang together, gaps",
          _holed(_normal(47, 3, 7, 2), (0, 2, 1), (1, 2)), family="multivariate_normal"),
    _deep("VRNN", "a row beside the memory, a combiner", _normal(48, 3, 7, 2), skip=1,
          posterior="combiner", posterior_dim=(), data=RAGGED),
    _deep("SRNN", "a row beside the memory, gaps", _holed(_normal(42, 3, 7, 2), (0, 2, 1)), skip=1),
    _deep("VRNN", "a combiner, a linear emission", _normal(40, 3, 7, 2), posterior="combiner",
          emission_dim=(), data=RAGGED),
    _deep("DeepKalmanFilter", "causal", _normal(35, 3, 7, 2), encoder="causal", posterior="mlp"),
]  # fmt: skip
IDS = [c.name for c in CASES]
