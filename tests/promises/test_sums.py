"""EM's sums from one backward pass are those of the smoothed moments.

Would catch: a residual about the wrong mean, a row counted that has no data or no successor, a
series of one model added to another's, sums of series that share their covariances.
"""

from __future__ import annotations

import pytest
import torch
from cases import CASES, IDS, Case

import statespace as ss
from statespace.models.lds.model import LDS
from statespace.sequences import read_sequences

EXACT, SINGLE = 1e-10, 1e-3  # relative to the largest entry of a sum


def _data(case: Case, model: LDS, dtype: torch.dtype) -> ss.Sequences:
    return read_sequences(
        **case.data(dtype), obs_dim=model.obs_dim, input_dim=model.input_dim, dtype=dtype,
        device="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_sums_of_the_whole_table(case: Case, dtype: torch.dtype) -> None:
    """And the log-likelihood that comes with them."""
    model = case.make(dtype=dtype)
    data = _data(case, model, dtype)
    generator = torch.Generator().manual_seed(0)
    found = ss.Kalman().sums(model, data)
    smoothed = ss.Kalman("plain").smooth(model, data, generator)
    if found is None:  # noise that varies in time, and a start that is never resolved: smoothed
        assert "varying" in case.name or case.name == "one row, diffuse"
        return
    value, sums = found
    bound = EXACT if dtype == torch.float64 else SINGLE
    assert torch.allclose(value, smoothed.log_likelihood, rtol=bound, atol=bound)
    one, two = model.statistics(sums, data), model.statistics(smoothed, data)
    for name in two:
        for a, b in zip(one[name], two[name], strict=True):
            assert a.shape == b.shape, name
            size = float(b.abs().max()) if b.numel() else 0.0
            assert float((a - b).abs().max()) <= bound * (1 + size), name
