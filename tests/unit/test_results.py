"""Records: padded, labelled, iterable, in the rank of the data."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from statespace import LDS
from statespace.errors import FieldError, InputError, InputTypeError, MethodError
from statespace.results import (
    Filtered,
    Forecast,
    Smoothed,
    Trajectory,
)
from statespace.sequences import read_sequences

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def spd(*shape: int) -> Tensor:
    root = normal(*shape, shape[-1], seed=1)
    return root @ root.mT + torch.eye(shape[-1], dtype=F64)


def filtered(batch: tuple[int, ...], lengths: Any, m: int = 2, **kwargs: Any) -> Filtered:
    rows, n = 4, 3
    parts: dict[str, Any] = {
        "mean": normal(*batch, rows, n),
        "cov": spd(*batch, rows, n),
        "predicted_mean": normal(*batch, rows, n),
        "predicted_cov": spd(*batch, rows, n),
        "y_mean": normal(*batch, rows, m),
        "y_cov": spd(*batch, rows, m),
        "innovations": normal(*batch, rows, m),
        "increments": normal(*batch, rows),
        "log_likelihood": normal(*batch),
        "kind": "exact",
        "lengths": torch.tensor(lengths),
    }
    return Filtered(**parts | kwargs)


def smoothed(batch: tuple[int, ...], lengths: Any, **kwargs: Any) -> Smoothed:
    rows, n = 4, 3
    parts: dict[str, Any] = {
        "mean": normal(*batch, rows, n),
        "cov": spd(*batch, rows, n),
        "cross_cov": normal(*batch, rows - 1, n, n),
        "log_likelihood": normal(*batch),
        "kind": "exact",
        "lengths": torch.tensor(lengths),
        "sampler": lambda num, g: torch.randn(num, *batch, rows, n, generator=g, dtype=F64),
    }
    return Smoothed(**parts | kwargs)


# --- padding and iteration -----------------------------------------------------------------------


def test_rows_beyond_a_length_are_nan() -> None:
    """In every field with an axis of time, lag-one covariances one row earlier; nowhere else."""
    f, s = filtered((2,), [4, 2]), smoothed((2,), [4, 2])
    for record, name in [(f, name) for name in Filtered.layout] + [(s, "mean"), (s, "cov")]:
        value = getattr(record, name)
        if value is None or name == "log_likelihood":
            continue
        assert not value[0].isnan().any(), name
        assert not value[1, :2].isnan().any(), name
        assert value[1, 2:].isnan().all(), name
    assert s.cross_cov is not None
    assert not s.cross_cov[0].isnan().any()
    assert not s.cross_cov[1, :1].isnan().any()
    assert s.cross_cov[1, 1:].isnan().all()
    assert not f.log_likelihood.isnan().any()


def test_iterating_gives_the_series_without_padding() -> None:
    """One record each, in order, whose fields are cut at the length."""
    f = filtered((2, 2), [[4, 2], [1, 3]])
    assert len(f) == 4
    for one, (i, j), length in zip(f, [(0, 0), (0, 1), (1, 0), (1, 1)], [4, 2, 1, 3], strict=True):
        assert one.batch_shape == ()
        assert int(one.lengths) == length
        assert torch.equal(one.cov, f.cov[i, j, :length])  # type: ignore[arg-type, index]
        assert float(one.log_likelihood) == float(f.log_likelihood[i, j])
        assert one.state is None
    for one in smoothed((2,), [4, 1]):
        assert one.cross_cov is not None
        assert len(one.cross_cov) == int(one.lengths) - 1
        assert one.sample(5, seed=0).shape == (5, int(one.lengths), 3)


@pytest.mark.parametrize("batch", [(), (1,), (3,)])
def test_univariate_data_have_univariate_results(batch: tuple[int, ...]) -> None:
    """Fields of y lose the feature axis, fields of z keep theirs; replacing a field is harmless."""
    lengths = torch.full(batch, 4).tolist()
    f = filtered(batch, lengths, m=1, univariate=True)
    for name in ("y_mean", "y_cov", "innovations", "y_stddev"):
        assert getattr(f, name).shape == (*batch, 4), name
    assert f.mean is not None
    assert f.mean.shape == (*batch, 4, 3)
    again = dataclasses.replace(f, repairs=2)
    assert again.y_cov is not None
    assert again.y_cov.shape == (*batch, 4)
    assert [one.y_mean.shape for one in f] == [(4,)] * len(f)  # type: ignore[union-attr]


def test_a_field_made_when_first_read_is_not_made_before() -> None:
    """Not by another record with other labels either; one with other rows has it made."""
    calls: list[str] = []

    def y_mean() -> Tensor:
        calls.append("y_mean")
        return normal(2, 4, 2)

    record = smoothed((2,), [4, 3], y_mean=None, later={"y_mean": y_mean}).having(seed=3)
    narrow = smoothed((2,), [4, 3], y_cov=None, later={"y_cov": y_mean}).having(keep="means")
    assert calls == []
    assert record.seed == 3
    with pytest.raises(FieldError):
        narrow.y_cov  # noqa: B018
    first = next(iter(record))
    assert torch.equal(first.y_mean, record.y_mean[0])
    assert calls == ["y_mean"]
    assert record.having(seed=4).y_mean is not None
    assert calls == ["y_mean"]


def test_smoothing_leaves_the_moments_of_y_until_they_are_asked_for() -> None:
    y = normal(5, 1)
    y[2] = torch.nan
    model = LDS(1, 1, A=[[1.0]], C=[[1.0]], Q=[[1.0]], R=[[1.0]], initial="diffuse")
    out = model.smooth(y, seed=0)
    assert "y_cov" not in vars(out)
    assert "y_mean" not in vars(out)
    assert float(out.y_cov[2]) > 0


def test_labels_may_be_added_later() -> None:
    """A record made with a feature axis loses it when it is replaced as univariate."""
    fc = Forecast(torch.zeros(2, 1), torch.ones(2, 1, 1), kind="exact", samples=torch.ones(9, 2, 1))
    flat = dataclasses.replace(fc, univariate=True, start=torch.tensor(7))
    assert flat.mean is not None
    assert (flat.mean.shape, flat.sample(3, seed=0).shape) == ((2,), (3, 2))
    assert list(flat.to_frame().index) == [7, 8]
    twice = dataclasses.replace(flat, start=torch.tensor(8))
    assert twice.quantile(0.5).shape == (2,)


def test_a_batch_of_models_over_one_series() -> None:
    """Fields may have more batch axes than the data, or fewer where they are shared."""
    f = filtered((5,), 4, cov=spd(4, 3))
    assert f.batch_shape == (5,)
    assert f.cov is not None
    assert f.cov.shape == (5, 4, 3, 3)
    assert len(list(f)) == 5
    assert f.to_frame().index.names == ["series", "t"]


def test_a_kind_has_a_name() -> None:
    """Anything else is refused."""
    with pytest.raises(InputError, match="lower bound"):
        filtered((), 4, kind="about right")


def test_discrete_states() -> None:
    """Probabilities instead of moments."""
    probs = torch.full((2, 4, 3), 1 / 3)
    f = Filtered(
        probs=probs, log_likelihood=torch.zeros(2), kind="exact", lengths=torch.tensor([4, 3])
    )
    assert f.mean is None
    assert f.stddev is None
    assert "K=3" in repr(f)
    assert list(f.to_frame().columns) == [("k", "P(0)"), ("k", "P(1)"), ("k", "P(2)")]
    assert len(f.to_frame()) == 7


@pytest.mark.parametrize("make", [filtered, smoothed])
def test_reprs_are_short(make: Any) -> None:
    """Kind, shapes, log-likelihood: on one line."""
    for record in (make((), 4), make((2,), [4, 2])):
        assert len(repr(record)) < 100
        assert "\n" not in repr(record)
        assert "exact" in repr(record)
        assert "log_likelihood=" in repr(record)


# --- draws ---------------------------------------------------------------------------------------


def test_draws_repeat_with_their_seed() -> None:
    """And leave torch's own generator alone."""
    s = smoothed((2,), [4, 2])
    before = torch.get_rng_state()
    a, b, c = s.sample(3, seed=1), s.sample(3, seed=1), s.sample(3)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a.nan_to_num(), b.nan_to_num())
    assert not torch.equal(a.nan_to_num(), c.nan_to_num())
    assert a[:, 1, 2:].isnan().all()
    assert not a[:, 0].isnan().any()


def test_draws_that_cannot_be_made() -> None:
    """A sentence says what to do."""
    with pytest.raises(MethodError, match="Smooth with another method"):
        smoothed((), 4, sampler=None).sample(2)
    with pytest.raises(InputError, match="`n`: expected an integer of at least 1"):
        smoothed((), 4).sample(0)
    with pytest.raises(InputTypeError, match="`seed`"):
        smoothed((), 4).sample(2, seed=0.5)  # type: ignore[arg-type]
    with pytest.raises(MethodError, match="num_samples"):
        Forecast(torch.zeros(2, 1), kind="exact").sample(2)


# --- forecasts -----------------------------------------------------------------------------------


@given(st.floats(0.001, 0.999), st.floats(-5, 5), st.floats(0.01, 10))
def test_gaussian_quantiles(q: float, mean: float, sd: float) -> None:
    """The Gaussian below which a share q lies."""
    fc = Forecast(
        torch.full((1, 1), mean, dtype=F64), torch.full((1, 1, 1), sd**2, dtype=F64), kind="exact"
    )
    z = (float(fc.quantile(q)) - mean) / sd
    assert math.isclose(0.5 * math.erfc(-z / math.sqrt(2)), q, rel_tol=1e-9)


@given(st.integers(1, 40), st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4))
def test_sample_quantiles_are_those_of_numpy(num: int, q: list[float]) -> None:
    """Linear between order statistics."""
    draws = normal(num, 2, 3)
    fc = Forecast(draws.mean(0), kind="estimate", samples=draws)
    ours = fc.quantile(q)
    assert ours.shape == (len(q), 2, 3)
    assert np.allclose(ours.numpy(), np.quantile(draws.numpy(), q, axis=0), atol=1e-12)


def test_shapes_of_a_forecast() -> None:
    """Quantiles, interval, deviations, draws; single series by iteration."""
    fc = Forecast(
        normal(2, 5, 3),
        spd(2, 5, 3),
        normal(2, 5, 4),
        spd(2, 5, 4),
        kind="exact",
        sampler=lambda n, g: torch.randn(n, 2, 5, 3, generator=g, dtype=F64),
    )
    assert fc.horizon == 5
    assert fc.stddev is not None
    assert fc.stddev.shape == (2, 5, 3)
    assert fc.quantile([0.1, 0.9]).shape == (2, 2, 5, 3)
    assert fc.quantile(torch.tensor(0.5)).allclose(fc.mean)  # type: ignore[arg-type]
    lower, upper = fc.interval(0.5)
    assert bool((lower < upper).all())
    assert fc.sample(7).shape == (7, 2, 5, 3)
    one = list(fc)[1]
    assert torch.equal(one.sample(7, seed=3), fc.sample(7, seed=3)[:, 1])
    assert torch.equal(one.interval(0.5)[0], lower[1])
    assert repr(fc) == "Forecast(exact, batch=(2,), horizon=5, m=3)"


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, [0.5, 1.5], math.nan])
def test_quantiles_lie_between_0_and_1(q: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(InputError, match="between 0 and 1"):
        Forecast(torch.zeros(2, 1), torch.ones(2, 1, 1), kind="exact").quantile(q)


@pytest.mark.parametrize("level", [0, 1.0, 90, math.nan])
def test_the_level_of_an_interval_is_a_probability(level: float) -> None:
    """The argument is named in the refusal."""
    with pytest.raises(InputError, match="`level`: expected a probability"):
        Forecast(torch.zeros(2, 1), torch.ones(2, 1, 1), kind="exact").interval(level)


def test_a_deviation_has_no_sign() -> None:
    """A variance of -0.0, as rounding leaves it, is a deviation of 0.0 and not of -0.0."""
    fc = Forecast(torch.zeros(1, 1), torch.full((1, 1, 1), -0.0), kind="exact")
    assert fc.stddev is not None
    assert not bool(fc.stddev.signbit())


def test_other_families() -> None:
    """Their own quantile function; none for categories, which have no order."""
    fc = Forecast(
        torch.zeros(2, 1),
        kind="exact",
        univariate=True,
        quantile_fn=lambda q: q[:, None, None].expand(-1, 2, 1),
    )
    assert fc.quantile([0.25, 0.5]).tolist() == [[0.25, 0.25], [0.5, 0.5]]
    words = Forecast(probs=torch.full((2, 1, 4), 0.25), kind="exact", univariate=True)
    assert words.probs is not None
    assert words.probs.shape == (2, 4)
    assert list(words.to_frame().columns) == ["P(0)", "P(1)", "P(2)", "P(3)"]
    with pytest.raises(MethodError, match="probs"):
        words.quantile(0.5)
    with pytest.raises(InputError, match="mean or probs"):
        Forecast(kind="exact")


# --- frames --------------------------------------------------------------------------------------


def labelled(y: Any, m: int) -> Any:
    return read_sequences(y, obs_dim=m, input_dim=0, dtype=F64, device="cpu")


def test_a_frame_has_the_index_of_the_data() -> None:
    """Rows, names and numbers."""
    years = pd.period_range("1871", periods=4, freq="Y", name="year")
    data = labelled(pd.DataFrame(np.ones((4, 2)), columns=["flow", "rain"], index=years), 2)
    f = filtered((), 4, index=data.index)
    frame = f.to_frame()
    assert frame.index.equals(years)
    assert list(frame["flow"].columns) == ["prediction", "stddev", "innovation"]
    assert np.array_equal(frame["rain", "prediction"], f.y_mean[:, 1])  # type: ignore[index]
    assert np.array_equal(frame["z[2]", "stddev"], f.cov[:, 2, 2].sqrt())  # type: ignore[index]
    s = smoothed((), 4, index=data.index, y_mean=normal(4, 2), y_cov=spd(4, 2))
    assert list(s.to_frame()["rain"].columns) == ["mean", "stddev"]
    fc = Forecast(normal(2, 2), spd(2, 2), kind="exact", index=data.index).to_frame(0.5)
    assert [str(p) for p in fc.index] == ["1875", "1876"]
    assert fc.index.name == "year"
    assert list(fc["flow"].columns) == ["mean", "stddev", "lower", "upper"]


def test_a_frame_of_a_panel_has_its_ids() -> None:
    """Without padding; forecasts go on from the end of each series."""
    index = pd.MultiIndex.from_tuples(
        [("b", 1), ("b", 2), ("b", 3), ("b", 4), ("a", 7), ("a", 8)], names=["who", "when"]
    )
    y = pd.Series(np.arange(6.0), index=index, name="flow")
    data = labelled(y, 1)
    f = filtered((2,), [4, 2], m=1, index=data.index, univariate=True)
    frame = f.to_frame()
    assert frame.index.equals(index)
    assert ("flow", "innovation") in frame.columns
    fc = Forecast(normal(2, 2, 1), spd(2, 2, 1), kind="exact", index=data.index, univariate=True)
    ahead = fc.to_frame()
    assert list(ahead.index) == [("b", 5), ("b", 6), ("a", 9), ("a", 10)]
    assert list(ahead.columns) == ["mean", "stddev", "lower", "upper"]
    assert list(list(fc)[1].to_frame().index) == [9, 10]


def test_a_frame_of_plain_tensors_counts() -> None:
    """Steps from 0, series from 0, entries by number; one series has no id."""
    frame = filtered((), 4, m=2).to_frame()
    assert list(frame.index) == [0, 1, 2, 3]
    assert ("y[1]", "innovation") in frame.columns
    assert ("y", "innovation") in filtered((), 4, m=1, univariate=True).to_frame().columns
    batch = filtered((2, 1), [[4], [2]]).to_frame()
    assert batch.index.names == ["series[0]", "series[1]", "t"]
    assert len(batch) == 6


class Switching(NamedTuple):
    k: Tensor
    x: Tensor


def test_trajectories() -> None:
    """A tree of states, iterated and framed."""
    draw = Trajectory(Switching(torch.zeros(3, 4).long(), normal(3, 4, 2)), normal(3, 4, 1))
    assert repr(draw) == "Trajectory(batch=(3,), T=4, m=1)"
    assert list(draw.to_frame().columns) == ["z.k", "z.x[0]", "z.x[1]", "y[0]"]
    one = list(draw)[2]
    assert torch.equal(one.z.x, draw.z.x[2])
    assert one.to_frame().shape == (4, 4)
    discrete = Trajectory(torch.zeros(4).long(), normal(4, 1))
    assert list(discrete.to_frame().columns) == ["z", "y[0]"]
