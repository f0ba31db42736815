"""What the parts of a deep model may look at: never the future, never padding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import statespace as ss
from statespace.interface.walking import contexts
from statespace.sequences import read_sequences

F64 = torch.float64


@pytest.mark.parametrize("name", ["VRNN", "LSTMStateSpace", "SRNN", "DeepKalmanFilter"])
def test_nothing_of_the_model_sees_the_future(name: str) -> None:
    """Prior and emission of row 3 hang on no y from row 3 on; a causal e_3 on none after it."""

    where = {"obs_dim": 2, "input_dim": 0, "dtype": F64, "device": torch.device("cpu")}
    g = torch.Generator().manual_seed(3)
    y = torch.randn(6, 2, dtype=F64, generator=g).requires_grad_()
    data = replace(read_sequences(y.detach(), None, **where), values=y)
    z = torch.randn(6, 2, dtype=F64, generator=g)
    model: Any = getattr(ss, name)(2, 2, hidden_dim=4, dtype=F64, seed=0, encoder="causal")
    before, after = contexts(model, data, z)
    prior = model.transition(z[2], before.row(3))
    emission = model.emission(z[3], after.row(3))
    parts = (prior.mean, prior.variance, emission.mean, emission.variance)
    for part in parts:
        if part.requires_grad and part.grad_fn is not None:
            found = torch.autograd.grad(part.sum(), y, allow_unused=True, retain_graph=True)[0]
            assert found is None or float(found[3:].abs().max()) == 0
    h = after.h if "z" not in model.reads else data.inputs[..., :0]
    e = model.guide.encode(data, h)
    (seen,) = torch.autograd.grad(e[3].sum(), y)
    assert float(seen[4:].abs().max()) == 0
    assert float(seen[3].abs().max()) > 0


@pytest.mark.parametrize("encoder", ["anticausal", "both", "causal", "pointwise"])
def test_an_encoder_reads_each_series_at_its_own_length(encoder: str) -> None:
    """Padding changes no e; and an anticausal one sees all that follows."""
    model: Any = ss.DeepKalmanFilter(2, 2, hidden_dim=4, dtype=F64, seed=0, encoder=encoder)

    where = {"obs_dim": 2, "input_dim": 0, "dtype": F64, "device": torch.device("cpu")}
    y = torch.randn(3, 6, 2, dtype=F64, generator=torch.Generator().manual_seed(4))
    lengths = [6, 4, 1]
    data = read_sequences(y, None, lengths=torch.tensor(lengths), **where)
    e = model.guide.encode(data, data.inputs[..., :0])
    for i, end in enumerate(lengths):
        alone = read_sequences(y[i, :end], None, **where)
        one = model.guide.encode(alone, alone.inputs[..., :0])
        assert torch.allclose(e[i, :end], one, atol=1e-12)
