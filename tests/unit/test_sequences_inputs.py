"""The door for inputs, for single rows and for counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from statespace.sequences import (
    Sequences,
    read_count,
    read_input_row,
    read_inputs,
    read_row,
    read_sequences,
)

NAN = float("nan")
F64 = torch.float64
MONTHS = pd.period_range("2000", periods=4, freq="M")
FRAME = pd.DataFrame(
    [[1.0, NAN], [2.0, 3.0], [NAN, NAN], [4.0, 5.0]], columns=["a", "b"], index=MONTHS
)


def read(y: Any, inputs: Any = None, m: int = 1, p: int = 0, **kwargs: Any) -> Sequences:
    settings: dict[str, Any] = {"dtype": F64, "device": "cpu"} | kwargs
    return read_sequences(y, inputs, obs_dim=m, input_dim=p, **settings)


def test_inputs_stand_beside_the_data() -> None:
    """In any form; one series of them serves a batch."""
    y, u = torch.zeros(2, 3, 1), torch.arange(6.0).reshape(3, 2)
    data = read(y, u, p=2)
    assert data.inputs.shape == (2, 3, 2)
    assert torch.equal(data.inputs[1], u.to(F64))
    assert data.future_inputs is None
    assert read(y, torch.ones(2, 3, 2), p=2).p == 2
    assert read([1.0, 2.0], [0, 1], p=1).inputs.tolist() == [[0], [1]]
    assert read(y, torch.zeros(2, 3, 0)).p == 0


def test_inputs_of_a_forecast() -> None:
    """The rows after the end of each series are those of its future."""
    u = torch.arange(5.0)
    data = read(torch.zeros(3, 1), u, p=1, horizon=2)
    assert data.inputs[:, 0].tolist() == [0, 1, 2]
    assert data.future_inputs is not None
    assert data.future_inputs[:, 0].tolist() == [3, 4]
    ragged = read([[1, 2, 3], [4]], [u, u[:3] + 10], p=1, horizon=2)
    assert ragged.inputs[..., 0].tolist() == [[0, 1, 2], [10, 0, 0]]
    assert ragged.future_inputs is not None
    assert ragged.future_inputs[..., 0].tolist() == [[3, 4], [11, 12]]
    shared = read([[1, 2, 3], [4]], u, p=1, horizon=2)
    assert shared.future_inputs is not None
    assert shared.future_inputs[..., 0].tolist() == [[3, 4], [1, 2]]
    without = read(torch.zeros(3, 1), horizon=2).future_inputs
    assert without is not None
    assert without.shape == (2, 0)


def test_gaps_beyond_a_length_do_not_matter() -> None:
    """Inputs are checked where the series are active, and are 0 elsewhere."""
    u = torch.tensor([[[1.0], [2.0]], [[3.0], [NAN]]], requires_grad=True)
    data = read(torch.zeros(2, 2, 1), u, p=1, lengths=torch.tensor([2, 1]))
    assert data.inputs[1].tolist() == [[3], [0]]
    (grad,) = torch.autograd.grad(data.inputs.sum(), u)
    assert grad[..., 0].tolist() == [[1, 1], [1, 0]]


def test_frames_of_data_and_inputs_agree() -> None:
    """The inputs' index is that of the data, and may go on beyond it."""
    u = pd.DataFrame({"u": np.arange(6.0)}, index=pd.period_range("2000", periods=6, freq="M"))
    assert read(FRAME, u, m=2, p=1, horizon=2).future_inputs is not None


def test_inputs_without_data() -> None:
    """For a sample, or after a state."""
    kwargs: dict[str, Any] = {"dtype": F64, "device": "cpu", "num_steps": 2}
    assert read_inputs(None, input_dim=0, batch_shape=(4,), **kwargs).shape == (4, 2, 0)
    u = read_inputs(np.ones((2, 3)), input_dim=3, batch_shape=(4,), **kwargs)
    assert u.shape == (4, 2, 3)
    u = read_inputs([[1, 2], [3, 4]], input_dim=1, batch_shape=(2,), **kwargs)
    assert u[..., 0].tolist() == [[1, 2], [3, 4]]


# --- one row -----------------------------------------------------------------------------------


def test_rows() -> None:
    """A tensor, a list, a number, a row of a frame, or None."""
    kwargs: dict[str, Any] = {"dtype": F64, "device": "cpu"}
    values, observed = read_row(None, obs_dim=2, batch_shape=(3,), **kwargs)
    assert values.shape == (3, 2)
    assert not observed.any()
    for number in (2, np.float32(2), torch.tensor(2), [2], pd.Series([2])):
        values, observed = read_row(number, obs_dim=1, batch_shape=(), **kwargs)
        assert (values.tolist(), observed.tolist()) == ([2], [True])
    values, observed = read_row(FRAME.iloc[0], obs_dim=2, batch_shape=(), **kwargs)
    assert (values.tolist(), observed.tolist()) == ([1, 0], [True, False])
    values, observed = read_row(
        torch.ones(2, 3), obs_dim=3, batch_shape=(2,), mask=torch.tensor([True, False]), **kwargs
    )
    assert observed.sum(-1).tolist() == [3, 0]
    assert values.sum(-1).tolist() == [3, 0]
    values, _ = read_row([1], obs_dim=1, batch_shape=(), integer=True, **kwargs)
    assert values.dtype == torch.int64
    assert read_input_row(None, input_dim=0, batch_shape=(2,), **kwargs).shape == (2, 0)
    assert read_input_row([1, 2], input_dim=2, batch_shape=(3,), **kwargs).shape == (3, 2)


def test_counts() -> None:
    """Integers of any kind."""
    assert read_count(torch.tensor(3).item(), name="horizon") == 3
    assert read_count(np.int32(0), name="n", at_least=0) == 0
