"""The door: every form of the data, read into the same thing."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from statespace.sequences import Index, Sequences, read_sequences

NAN, INF = math.nan, math.inf
F64 = torch.float64


def read(y: Any, inputs: Any = None, m: int = 1, p: int = 0, **kwargs: Any) -> Sequences:
    settings: dict[str, Any] = {"dtype": F64, "device": "cpu"} | kwargs
    return read_sequences(y, inputs, obs_dim=m, input_dim=p, **settings)


TABLE = [[1.0, NAN], [2.0, 3.0], [NAN, NAN], [4.0, 5.0]]
FRAME = pd.DataFrame(TABLE, columns=["a", "b"], index=pd.period_range("2000", periods=4, freq="M"))
FORMS: dict[str, Any] = {
    "tensor": torch.tensor(TABLE),
    "tensor, float16": torch.tensor(TABLE, dtype=torch.float16),
    "array": np.array(TABLE),
    "array, big-endian": np.array(TABLE).astype(">f4"),
    "array, backwards": np.array(TABLE)[::-1].copy()[::-1],
    "array, other order": np.asfortranarray(np.array(TABLE)),
    "frame": FRAME,
    "frame, nullable": FRAME.astype("Float32"),
    "frame, mixed": FRAME.astype({"a": "Int64", "b": "float32"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_series_in_every_form(form: str) -> None:
    """Tensor, array and DataFrame of any width give the same values and the same mask."""
    data = read(FORMS[form], m=2)
    assert data.values.tolist() == [[1, 0], [2, 3], [0, 0], [4, 5]]
    assert data.observed.int().tolist() == [[1, 0], [1, 1], [0, 0], [1, 1]]
    assert data.values.dtype == F64
    assert data.values.is_contiguous()
    assert (data.batch_shape, data.T, data.m, data.p) == ((), 4, 2, 0)
    assert (int(data.lengths), int(data.n_values), int(data.n_steps)) == (4, 5, 3)
    assert not data.univariate
    assert not data.complete


@pytest.mark.parametrize(
    "form",
    [
        [1, 2.5, NAN],
        (1, 2.5, NAN),
        [np.float32(1), np.int64(2) + 0.5, NAN],
        torch.tensor([1, 2.5, NAN]),
        np.array([1, 2.5, NAN]),
        pd.Series([1, 2.5, NAN]),
    ],
    ids=lambda f: type(f).__name__,
)
def test_one_dimension_is_one_univariate_series(form: Any) -> None:
    """A feature axis is added, and remembered to be taken off again."""
    data = read(form)
    assert data.univariate
    assert data.values.tolist() == [[1], [2.5], [0]]
    assert data.observed.tolist() == [[True], [True], [False]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.uint16])
def test_integers_work(dtype: torch.dtype) -> None:
    """They are cast to the model's dtype, as float32 is."""
    y = torch.tensor([[1], [2], [3]], dtype=dtype)
    assert read(y).values.dtype == F64
    assert read(y.numpy(), dtype=torch.float32).values.dtype == torch.float32
    assert read(y.float()).values.tolist() == [[1], [2], [3]]


def test_a_list_of_series_is_padded() -> None:
    """Rows beyond a length are 0, not observed and not active; types may be mixed."""
    data = read([np.ones((3, 2)), torch.full((1, 2), 2.0), FRAME[:2]], m=2)
    assert data.ragged_list
    assert data.lengths.tolist() == [3, 1, 2]
    assert data.values[1].tolist() == [[2, 2], [0, 0], [0, 0]]
    assert data.active.sum(-1).tolist() == [3, 1, 2]
    assert not data.observed[1, 1:].any()
    assert data.n_values.tolist() == [6, 2, 3]


def test_a_list_of_univariate_series() -> None:
    """A list of lists is two series, never a table."""
    data = read([[1, 2, 3], [4, 5]])
    assert data.univariate
    assert data.values[..., 0].tolist() == [[1, 2, 3], [4, 5, 0]]


def test_a_long_panel_is_read_by_id() -> None:
    """Rows may be interleaved: series come in the order in which their ids first appear."""
    index = pd.MultiIndex.from_tuples(
        [("b", 1), ("a", 1), ("b", 2), ("a", 3), ("b", 5)], names=["who", "when"]
    )
    data = read(pd.DataFrame({"y": [1.0, 10, 2, 30, 5]}, index=index))
    assert data.index.ids == ("b", "a")
    assert data.index.id_names == ("who",)
    assert data.lengths.tolist() == [3, 2]
    assert data.values[..., 0].tolist() == [[1, 2, 5], [10, 30, 0]]
    assert [list(t) for t in data.index.times] == [[1, 2, 5], [1, 3]]
    assert read(pd.Series([1.0, 10, 2, 30, 5], index=index)).univariate


def test_a_panel_with_two_id_levels() -> None:
    """The id of a series is then a pair."""
    index = pd.MultiIndex.from_product([["x", "y"], [1, 2], [0, 1, 2]], names=["g", "i", "t"])
    data = read(pd.DataFrame({"v": np.arange(12.0)}, index=index))
    assert data.index.ids == (("x", 1), ("x", 2), ("y", 1), ("y", 2))
    assert data.index.id_names == ("g", "i")
    assert data.values[1, :, 0].tolist() == [3, 4, 5]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200))
def test_panels_keep_the_order_of_time(ids: list[int]) -> None:
    """However the rows of the series are interleaved, each series keeps its own."""
    index = pd.MultiIndex.from_arrays([ids, range(len(ids))])
    data = read(pd.Series(np.arange(len(ids), dtype=float), index=index))
    assert data.index.ids == tuple(dict.fromkeys(ids))
    for i, length, values in zip(data.index.ids, data.lengths, data.values, strict=True):
        assert values[:length, 0].tolist() == [t for t, who in enumerate(ids) if who == i]


def test_lengths_cut_a_dense_batch() -> None:
    """What stands beyond a length is never looked at: NaN and inf may stand there."""
    y = torch.tensor([[[1.0], [2.0]], [[3.0], [INF]]])
    data = read(y, lengths=[2, 1])
    assert data.values[1].tolist() == [[3], [0]]
    assert data.n_values.tolist() == [2, 1]
    assert data.complete
    assert int(read(y[0], lengths=1).n_steps) == 1


@pytest.mark.parametrize("by_row", [False, True])
def test_a_mask_and_nan_are_both_missing(by_row: bool) -> None:
    """True is observed; NaN is not, even where the mask says True; inf may hide behind False."""
    y = torch.tensor([[1.0, 2.0], [INF, INF], [NAN, 6.0]])
    rows = torch.tensor([True, False, True])
    data = read(y, m=2, mask=rows if by_row else rows[:, None].expand(3, 2))
    assert data.observed.tolist() == [[True, True], [False, False], [False, True]]
    assert data.values.tolist() == [[1, 2], [0, 0], [0, 6]]


def test_a_mask_does_not_reach_beyond_a_length() -> None:
    """What is observed lies inside the series, and where the mask says so."""
    y = torch.ones(2, 3, 1)
    mask = torch.tensor([[True, False, True], [True, True, True]])
    data = read(y, mask=mask, lengths=[3, 1])
    assert data.observed[..., 0].tolist() == [[True, False, True], [True, False, False]]


def test_a_mask_comes_in_the_form_of_the_data() -> None:
    """Lists, Series and frames of booleans."""
    assert read([1, 2], mask=[True, False]).observed.tolist() == [[True], [False]]
    ragged = read([[1, 2], [3]], mask=[[False, True], [True]])
    assert ragged.observed[..., 0].tolist() == [[False, True], [True, False]]
    assert read(FRAME, m=2, mask=FRAME > 1).observed.int().sum() == 4
    assert read(FRAME["a"], mask=FRAME["a"] > 1).observed.int().sum() == 2


def test_categories_stay_int64() -> None:
    """Integers of any width, and whole floats, whose NaN is missing."""
    data = read(np.array([[3], [1]], dtype=np.uint8), integer=True)
    assert data.values.dtype == torch.int64
    assert data.complete
    floats = read([[2.0, NAN], [1]], integer=True)
    assert floats.values.dtype == torch.int64
    assert floats.values[..., 0].tolist() == [[2, 0], [1, 0]]
    assert floats.n_values.tolist() == [1, 1]


def test_gradients_go_through_the_door() -> None:
    """Those of observed entries are 1 and those of the others 0: never NaN."""
    y = torch.tensor([[1.0, NAN], [INF, 4.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [False, True]])
    data = read(y, m=2, mask=mask)
    (grad,) = torch.autograd.grad(data.values.square().sum(), y)
    assert grad.tolist() == [[2, 0], [0, 8]]
    whole = torch.ones(3, 1, dtype=F64, requires_grad=True)
    assert read(whole).values.requires_grad
    pieces = [torch.ones(2, 1, requires_grad=True), torch.ones(3, 1, requires_grad=True)]
    torch.autograd.grad(read(pieces).values.sum(), pieces)


def test_numbers_near_overflow_are_numbers() -> None:
    """A sum that overflows is not taken for an infinite entry."""
    assert read(torch.full((4, 1), 1e308, dtype=F64)).complete
    assert read([1e308, NAN, 1e308]).n_values == 2


def test_the_callers_array_is_left_alone() -> None:
    """Neither changed, nor shared; it may be read-only."""
    y = np.array([[1.0], [NAN]])
    y.setflags(write=False)
    data = read(y)
    assert np.isnan(y[1, 0])
    assert data.values[1, 0] == 0
    whole = np.ones((3, 1))
    data = read(whole)
    whole[0] = 7
    assert data.values[0, 0] == 1


def test_one_row_is_a_series() -> None:
    """T = 1."""
    assert read(torch.zeros(1, 3), m=3).T == 1


@given(st.data())
def test_the_mask_is_where_the_numbers_were(data: Any) -> None:
    """For any batch, lengths and gaps: values are the data where observed, 0 elsewhere."""
    batch = data.draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    rows, m = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    seed = data.draw(st.integers(0, 999))
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(*batch, rows, m, generator=generator, dtype=F64)
    y[torch.rand(y.shape, generator=generator) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))] = NAN
    lengths = torch.randint(1, rows + 1, batch, generator=generator)
    seen = read(y, m=m, lengths=lengths)
    inside = torch.arange(rows) < lengths[..., None]
    assert torch.equal(seen.observed, ~y.isnan() & inside[..., None])
    assert torch.equal(seen.values, torch.where(seen.observed, y, 0.0))
    assert torch.equal(seen.n_values, seen.observed.flatten(-2).sum(-1))
    assert seen.complete == bool((~y.isnan() | ~inside[..., None]).all())


# --- Sequences ---------------------------------------------------------------------------------


def test_rows_and_series_of_sequences() -> None:
    """A window keeps the index beside it; a minibatch is cut to its longest series."""
    y = [FRAME, FRAME[:2], FRAME[:1]]
    data = read(y, [np.arange(4.0), np.arange(2.0), np.arange(1.0)], m=2, p=1)
    window = data.rows(1, 3)
    assert window.lengths.tolist() == [2, 1, 0]
    assert torch.equal(window.values, data.values[:, 1:3])
    assert window.index.times[0].equals(FRAME.index[1:3])
    assert torch.equal(window.active, data.active[:, 1:3])
    some = data.select(torch.tensor([2, 1]))
    assert some.lengths.tolist() == [1, 2]
    assert some.values.shape == (2, 2, 2)
    assert torch.equal(some.inputs, data.inputs[[2, 1], :2])
    assert some.index.times[1].equals(FRAME.index[:2])
    assert data.to("cpu").lengths.tolist() == [4, 2, 1]
    assert "5 of" in repr(read(FRAME, m=2))


def test_conditions_are_cast_and_go_with_their_series() -> None:
    """A vector per series, or a tree of them."""
    tree = {"words": torch.tensor([[1], [2]]), "style": torch.ones(2, 3)}
    data = read(torch.zeros(2, 4, 1), condition=tree)
    assert data.condition["words"].dtype == torch.int64
    assert data.condition["style"].dtype == F64
    assert data.select(torch.tensor([1])).condition["words"].tolist() == [[2]]
    assert read([1.0], condition=np.ones(3)).condition.shape == (3,)
    assert read([1.0]).condition == ()


# --- the index goes on -------------------------------------------------------------------------

GOES_ON: dict[str, tuple[Any, list[Any]]] = {
    "periods": (pd.period_range("2020-11", periods=3, freq="M"), ["2021-02", "2021-03"]),
    "dates": (pd.date_range("2020-11-01", periods=3, freq="MS"), ["2021-02-01", "2021-03-01"]),
    "one date": (pd.date_range("2020-11-01", periods=1, freq="D"), ["2020-11-02", "2020-11-03"]),
    "dates, inferred": (
        pd.DatetimeIndex(["2020-11-30", "2020-12-31", "2021-01-31"]),
        ["2021-02-28", "2021-03-31"],
    ),
    "durations": (
        pd.timedelta_range("1h", periods=3, freq="h"),
        ["0 days 04:00:00", "0 days 05:00:00"],
    ),
    "range": (pd.RangeIndex(5, 11, 2), ["11", "13"]),
    "integers": (pd.Index([1871, 1872, 1873]), ["1874", "1875"]),
    "floats": (pd.Index([0.0, 0.1, 0.2]), ["0.30000000000000004", "0.4"]),
    "irregular numbers": (pd.Index([1, 2, 5]), ["1", "2"]),
    "irregular dates": (pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-09"]), ["1", "2"]),
    "words": (pd.Index(["a", "b"]), ["1", "2"]),
    "one number": (pd.Index([7]), ["1", "2"]),
}


@pytest.mark.parametrize("case", GOES_ON)
def test_an_index_goes_on(case: str) -> None:
    """With its frequency or its constant step; else rows are counted as steps ahead."""
    times, wanted = GOES_ON[case]
    future = Index(times=(times.rename("when"),)).future(0, 2)
    got = [str(t.date()) if isinstance(t, pd.Timestamp) else str(t) for t in future]
    assert got == wanted
    assert future.name == ("step ahead" if wanted == ["1", "2"] else "when")


def test_pandas_is_loaded_late() -> None:
    """Reading tensors loads no pandas."""
    import subprocess
    import sys

    program = io.StringIO()
    program.write("import sys, torch, statespace.sequences as s\n")
    program.write("s.read_sequences(torch.zeros(3, 1), obs_dim=1, input_dim=0,")
    program.write("dtype=torch.float64, device='cpu')\nassert 'pandas' not in sys.modules")
    subprocess.run([sys.executable, "-c", program.getvalue()], check=True)
