"""Numbers of any width are cast at the door, and every answer is in the model's dtype.

Would catch: integer counts times a Python float, which torch makes float32; a constant made in the
default dtype; a record half in one precision and half in another.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, IDS, Case
from torch import Tensor

import statespace as ss

RECORDS = ("filter", "smooth", "forecast")


def floats(record: Any) -> dict[str, torch.dtype]:
    """The dtypes of all floating point tensors in a record, by field."""
    found = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor) and value.is_floating_point():
            found[field.name] = value.dtype
    return found


def counts() -> Any:
    """Integer counts, as they come."""
    return np.random.default_rng(0).poisson(40, (12, 2))


def model(dtype: torch.dtype = torch.float64) -> Any:
    eye = np.eye(2)
    return ss.LDS(
        2, 2, A=0.5 * eye, C=eye, Q=eye, R=eye, d=[40.1, 40.1],
        initial_mean=np.zeros(2), initial_cov=eye, dtype=dtype,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_field_has_the_dtype_of_the_model(case: Case, dtype: torch.dtype) -> None:
    """Whatever the width of the data: each record, the score, the draws, a step."""
    other = torch.float32 if dtype == torch.float64 else torch.float64
    lds, data = case.make(dtype=dtype), case.data(other)
    for verb in ("filter", "smooth"):
        record = getattr(lds, verb)(**data)
        found = floats(record)
        assert found
        assert set(found.values()) == {dtype}, {k: v for k, v in found.items() if v != dtype}
    value = lds.log_likelihood(**data)
    assert value.dtype == dtype
    if value.requires_grad:
        value.sum().backward()
    assert all(p.grad is None or p.grad.dtype == dtype for p in lds.parameters())
    if case.u is None and "diffuse" not in case.tags:
        drawn = lds.sample(3, case.y.shape[:-2], seed=0)
        assert drawn.y.dtype == drawn.z.dtype == dtype
        fc = lds.forecast(**data, horizon=2)
        assert set(floats(fc).values()) == {dtype}
        assert fc.quantile([0.1, 0.9]).dtype == fc.sample(2, seed=0).dtype == dtype
        assert lds.smooth(**data).sample(2, seed=0).dtype == dtype


@pytest.mark.parametrize(
    "narrow", [torch.int64, torch.int32, torch.int16, torch.uint8, torch.float16, torch.float32]
)
@pytest.mark.parametrize("verb", RECORDS)
def test_counts_are_read_exactly(verb: str, narrow: torch.dtype) -> None:
    """Integers and narrow floats give, bit for bit, what the same numbers in float64 give."""
    kwargs = {"horizon": 3} if verb == "forecast" else {}
    y = torch.as_tensor(counts())
    wide = getattr(model(), verb)(y.double(), **kwargs)
    other = getattr(model(), verb)(y.to(narrow), **kwargs)
    for name in floats(wide):
        assert torch.equal(getattr(other, name).nan_to_num(), getattr(wide, name).nan_to_num())
    assert floats(other) == floats(wide)


def test_counts_are_fitted_in_double_precision() -> None:
    """A fit on integers is the fit on the same numbers in float64."""
    y = counts()[:, :1]
    fits = [ss.LDS(1, 1, initial="stationary").fit(v, seed=0) for v in (y, y.astype(float))]
    assert fits[0].log_likelihood == fits[1].log_likelihood
    assert fits[0].model.A.dtype == torch.float64


def test_steps_take_python_numbers_and_integers() -> None:
    """start and step, row by row, in the model's dtype."""
    for dtype in (torch.float32, torch.float64):
        lds = model(dtype)
        state = lds.start()
        for row in ([40, 41], np.array([39, 38]), torch.tensor([40, 40])):
            state, info = lds.step(state, row)
            assert info.increment.dtype == info.belief.mean.dtype == dtype
