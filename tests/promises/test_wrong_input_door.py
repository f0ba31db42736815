"""Wrong input raises the promised sentence: argument, expected, received, what to do."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from statespace.errors import InputError, InputTypeError, StateSpaceError
from statespace.sequences import (
    read_count,
    read_input_row,
    read_inputs,
    read_row,
    read_sequences,
)

NAN, INF = math.nan, math.inf
SENTENCE = re.compile(r"`\S+`: expected .+, received .+\. .+\.$", re.DOTALL)

Y1, Y3, BATCH = torch.zeros(5, 1), torch.zeros(5, 3), torch.zeros(2, 5, 1)
DAYS = pd.date_range("2020-01-01", periods=5, freq="D")
FRAME = pd.DataFrame({"u": np.arange(5.0)}, index=DAYS)


def with_(y: torch.Tensor, place: tuple[int, ...], value: float) -> torch.Tensor:
    y = y.clone()
    y[place] = value
    return y


def panel(rows: list[tuple[Any, Any]]) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(rows, names=["id", "t"])
    return pd.DataFrame({"y": np.zeros(len(rows))}, index=index)


def meta(y: torch.Tensor) -> torch.Tensor:
    return y.to("meta")


# y, other arguments, the error, and what the sentence must say
CASES: dict[str, tuple[Any, dict[str, Any], type[StateSpaceError], str]] = {
    # ranks and axes
    "a number": (3.0, {}, InputTypeError, "a tensor, an array.*float"),
    "a 0-d tensor": (torch.tensor(3.0), {}, InputError, "a single number"),
    "one dimension, several features": (torch.zeros(5), {"m": 3}, InputError, "without a feature"),
    "one row": (torch.zeros(3), {"m": 3}, InputError, r"write y\[None, :\]"),
    "swapped axes": (torch.zeros(3, 5), {"m": 3}, InputError, r"\(features, time\): pass y\.T"),
    "swapped axes, batch": (torch.zeros(2, 3, 5), {"m": 3}, InputError, r"pass y\.mT"),
    "swapped axes, frame": (FRAME.T, {}, InputError, r"\(features, time\): pass y\.T"),
    "wrong number of features": (Y3, {"m": 2}, InputError, r"obs_dim=3, or select 2 columns"),
    "a batch without features": (torch.zeros(2, 5), {}, InputError, r"y\[\.\.\., None\]"),
    "columns as series": (
        pd.DataFrame(np.zeros((5, 2))),
        {},
        InputError,
        r"\[y\[c\] for c in y\]",
    ),
    "batched entries": ([BATCH, BATCH], {}, InputError, r"`y\[0\]`.*one series of shape \(T, 1\)"),
    "mixed ranks": ([Y1, Y1[:, 0]], {}, InputError, "series of one rank"),
    # nothing there
    "no rows": (torch.zeros(0, 1), {}, InputError, "T = 0"),
    "no rows, list": ([Y1, Y1[:0]], {}, InputError, r"`y\[1\]`.*T = 0"),
    "no rows, frame": (FRAME[:0], {}, InputError, "T = 0"),
    "no rows, panel": (panel([("a", 0)])[:0], {}, InputError, "at least one series"),
    "no series": (torch.zeros(0, 5, 1), {}, InputError, "an empty batch"),
    "an empty list": ([], {}, InputError, "an empty list"),
    "None": (None, {}, InputTypeError, "NoneType"),
    # what is in it
    "booleans": (Y1 > 0, {}, InputTypeError, "booleans.*mask="),
    "booleans, array": ((Y1 > 0).numpy(), {}, InputTypeError, "booleans"),
    "booleans, list": ([True, False], {}, InputTypeError, "True of type bool at position 0"),
    "booleans, frame": (FRAME > 1, {}, InputTypeError, "dtype bool in column 'u'"),
    "complex": (Y1 + 0j, {}, InputTypeError, "complex numbers.*two features"),
    "complex, array": ((Y1 + 0j).numpy(), {}, InputTypeError, "complex numbers"),
    "complex, frame": (FRAME + 0j, {}, InputTypeError, "complex"),
    "strings": (np.array(["1", "2"]), {}, InputTypeError, "strings"),
    "strings, list": (["1", "2"], {}, InputTypeError, "'1' of type str at position 0"),
    "strings, frame": (FRAME.astype(str), {}, InputTypeError, "column 'u'"),
    "a string": ("1871", {}, InputTypeError, "type str"),
    "objects": (np.array([1.0, None], dtype=object), {}, InputTypeError, "Python objects"),
    "None in a list": ([1.0, None], {}, InputTypeError, "None of type NoneType.*Write NaN"),
    "dates": (DAYS.to_numpy(), {}, InputTypeError, "dates.*in the index"),
    "dates, frame": (pd.DataFrame({"u": DAYS}), {}, InputTypeError, "datetime"),
    "categories, frame": (FRAME.astype("category"), {}, InputTypeError, "category"),
    "a dict": ({"a": Y1}, {}, InputTypeError, r"list\(y\.values\(\)\)"),
    "a set": ({1.0, 2.0}, {}, InputTypeError, "type set"),
    "a generator": ((v for v in (1.0, 2.0)), {}, InputTypeError, "type generator"),
    "a series among numbers": ([Y1, 3.0], {}, InputTypeError, "float at position 1"),
    "sparse": (Y1.to_sparse(), {}, InputTypeError, r"\.to_dense\(\)"),
    "another device": (meta(Y1), {}, InputError, "device 'cpu'.*one on meta"),
    "another device in a list": ([Y1, meta(Y1)], {}, InputError, r"`y\[1\]`.*one on meta"),
    # infinity
    "inf": (with_(Y1, (3, 0), INF), {}, InputError, r"inf at row 3, column 0"),
    "-inf in a batch": (with_(BATCH, (1, 4, 0), -INF), {}, InputError, "-inf at series 1, row 4"),
    "inf beside NaN": (torch.tensor([[NAN], [INF]]), {}, InputError, "inf at row 1, column 0"),
    "inf in a list": ([Y1, with_(Y1, (2, 0), INF)], {}, InputError, "inf at series 1, row 2"),
    "inf in a frame": (
        FRAME.replace(3.0, INF),
        {},
        InputError,
        r"row 3, column 0 \(row 2020-01-04.*column 'u'",
    ),
    "inf in a narrow type": ([1e300], {"dtype": torch.float32}, InputError, "in torch.float32"),
    # categories
    "halves": ([0.5], {"integer": True}, InputError, "whole numbers.*0.5 at row 0"),
    "infinite category": ([INF], {"integer": True}, InputError, "inf at row 0"),
    "huge category": (
        np.array([2**63], dtype=np.uint64),
        {"integer": True},
        InputError,
        r"below 2\*\*63",
    ),
    # lengths
    "length beyond T": (BATCH, {"lengths": [5, 6]}, InputError, "1 to T = 5.*6 for series 1"),
    "negative length": (BATCH, {"lengths": [-1, 5]}, InputError, "-1 for series 0"),
    "length 0": (BATCH, {"lengths": [5, 0]}, InputError, "0 for series 1"),
    "fractional length": (BATCH, {"lengths": [2.0, 5.0]}, InputTypeError, "integers.*floats"),
    "boolean length": (Y1, {"lengths": True}, InputTypeError, "`lengths`"),
    "one length for two": (BATCH, {"lengths": 5}, InputError, r"shape \(2,\).*shape \(\)"),
    "two lengths for one": (Y1, {"lengths": [5, 5]}, InputError, r"shape \(\).*shape \(2,\)"),
    "lengths of a list": ([Y1], {"lengths": [3]}, InputError, "Leave it out"),
    # masks
    "mask of numbers": (Y1, {"mask": torch.ones(5, 1)}, InputTypeError, "`mask`.*booleans"),
    "mask of integers": (Y1, {"mask": np.ones((5, 1), int)}, InputTypeError, "booleans"),
    "mask in a list of numbers": (Y1, {"mask": [1, 0, 1, 1, 1]}, InputTypeError, "list of bool"),
    "mask of other shape": (Y3, {"m": 3, "mask": torch.ones(3, 5) > 0}, InputError, "`mask`"),
    "mask that would broadcast": (Y3, {"m": 3, "mask": torch.ones(1, 3) > 0}, InputError, "`mask`"),
    "mask with an axis too many": (
        Y1[:, 0],
        {"mask": torch.ones(5, 1) > 0},
        InputError,
        r"shape \(5,\)",
    ),
    "one mask for a list": ([Y1, Y1], {"mask": [Y1 > 0]}, InputError, "a list of 1"),
    "short mask in a list": ([Y1], {"mask": [Y1[:2] > 0]}, InputError, r"\(5, 1\) or \(5,\)"),
    "mask of other times": (
        FRAME,
        {"mask": (FRAME > 0).shift(freq="D")},
        InputError,
        "`mask`.*2020-01-01",
    ),
    # index
    "words out of order": (
        FRAME.set_axis([f"r{i}" for i in range(len(FRAME))][::-1]),
        {},
        InputError,
        r"increasing order.*Make dates",
    ),
    "unsorted": (FRAME[::-1], {}, InputError, r"increasing order.*sort_index"),
    "duplicated": (FRAME.iloc[[0, 1, 1]], {}, InputError, "2020-01-02.* twice"),
    "no time": (
        FRAME.set_index(DAYS.where(np.arange(5) != 2)),
        {},
        InputError,
        "none in row 2",
    ),
    "unsorted panel": (panel([("a", 1), ("b", 2), ("a", 0)]), {}, InputError, "series 'a'.*1 bef"),
    "duplicated panel": (panel([("a", 1), ("b", 2), ("a", 1)]), {}, InputError, "1 twice"),
    "no id": (panel([("a", 1), (None, 2)]), {}, InputError, "an id in every row"),
    "panels in a list": ([panel([("a", 0)])], {}, InputError, "one DataFrame"),
    "other columns in a list": (
        [pd.DataFrame(np.zeros((2, 2)), columns=[*"ab"]), pd.DataFrame(np.zeros((2, 2)))],
        {"m": 2},
        InputError,
        r"columns \['a', 'b'\] in every frame",
    ),
    "one name for two columns": (
        pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"]),
        {"m": 2},
        InputError,
        "'a' twice",
    ),
    # inputs
    "inputs missing": (Y1, {"p": 2}, InputError, "`inputs`.*2 inputs per row.*none"),
    "inputs not wanted": (Y1, {"inputs": Y1}, InputError, "input_dim = 0"),
    "inputs too short": (Y1, {"p": 1, "inputs": Y1[:4]}, InputError, r"5 rows \(T\).*4 rows"),
    "inputs too long": (
        Y1,
        {"p": 1, "inputs": torch.zeros(6, 1)},
        InputError,
        r"5 rows \(T\).*6 rows",
    ),
    "inputs short of the horizon": (
        Y1,
        {"p": 1, "inputs": Y1, "horizon": 3},
        InputError,
        r"8 rows \(T \+ horizon = 5 \+ 3\).*5 rows",
    ),
    "inputs of a list": (
        [Y1, Y1[:2]],
        {"p": 1, "inputs": [Y1, Y1]},
        InputError,
        "2 rows for series 1.*5 rows",
    ),
    "too few inputs": ([Y1, Y1], {"p": 1, "inputs": [Y1]}, InputError, r"a batch of shape \(2,\)"),
    "batch of inputs": (Y1, {"p": 1, "inputs": BATCH}, InputError, "one series.*one of shape"),
    "swapped inputs": (Y1, {"p": 2, "inputs": torch.zeros(2, 5)}, InputError, r"pass inputs\.T"),
    "NaN in inputs": (
        BATCH,
        {"p": 1, "inputs": with_(BATCH, (1, 3, 0), NAN)},
        InputError,
        "nan at series 1, row 3.*cannot be missing",
    ),
    "inf in inputs": (Y1, {"p": 1, "inputs": with_(Y1, (2, 0), INF)}, InputError, "inf at row 2"),
    "NaN in future inputs": (
        Y1[:4],
        {"p": 1, "inputs": with_(Y1, (4, 0), NAN), "horizon": 1},
        InputError,
        "nan at row 4",
    ),
    "boolean inputs": (Y1, {"p": 1, "inputs": Y1 > 0}, InputTypeError, "`inputs`.*booleans"),
    "inputs on another device": (Y1, {"p": 1, "inputs": meta(Y1)}, InputError, "one on meta"),
    "inputs of other times": (
        FRAME,
        {"p": 1, "inputs": FRAME.reset_index(drop=True)},
        InputError,
        r"the index of the data \(2020-01-01",
    ),
    "inputs of other ids": (
        panel([("a", 0), ("b", 0)]),
        {"p": 1, "inputs": panel([("b", 0), ("a", 0)])},
        InputError,
        "the ids of the data",
    ),
    # condition
    "condition of another batch": (
        BATCH,
        {"condition": torch.zeros(3, 4)},
        InputError,
        r"leading axes \(2,\)",
    ),
    "boolean condition": (Y1, {"condition": Y1 > 0}, InputTypeError, "`condition`"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_data(case: str) -> None:
    """A named error in the one form, which says what this case has to say."""
    y, options, error, words = CASES[case]
    settings: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
    options = (
        settings | {"obs_dim": options.get("m", 1), "input_dim": options.get("p", 0)} | options
    )
    options = {k: v for k, v in options.items() if k not in ("m", "p")}
    with pytest.raises(error) as caught:
        read_sequences(y, **options)
    sentence = str(caught.value)
    assert SENTENCE.match(sentence), sentence
    assert re.search(words, sentence), sentence


ROW: dict[str, Any] = {"batch_shape": (2,), "dtype": torch.float64, "device": "cpu"}
OTHERS: dict[str, tuple[Any, type[StateSpaceError], str]] = {
    "a row for another batch": (lambda: read_row([1.0], obs_dim=1, **ROW), InputError, r"\(2, 1\)"),
    "a column for a row": (
        lambda: read_row(torch.zeros(2), obs_dim=1, **ROW),
        InputError,
        r"`y_t`.*shape \(2,\)",
    ),
    "inf in a row": (
        lambda: read_row(torch.tensor([[0.0], [INF]]), obs_dim=1, **ROW),
        InputError,
        "inf at series 1",
    ),
    "mask of a row": (
        lambda: read_row(torch.zeros(2, 1), obs_dim=1, mask=torch.ones(1) > 0, **ROW),
        InputError,
        "`mask`",
    ),
    "boolean row": (
        lambda: read_row(torch.ones(2, 1) > 0, obs_dim=1, **ROW),
        InputTypeError,
        "booleans",
    ),
    "row in a dict": (lambda: read_row({"y": 1}, obs_dim=1, **ROW), InputTypeError, "dict"),
    "no input row": (lambda: read_input_row(None, input_dim=1, **ROW), InputError, "`u_t`"),
    "input row not wanted": (lambda: read_input_row([1], input_dim=0, **ROW), InputError, "`u_t`"),
    "NaN in an input row": (
        lambda: read_input_row([NAN], input_dim=1, **ROW),
        InputError,
        "nan at series 0",
    ),
    "inputs of a sample": (
        lambda: read_inputs(torch.zeros(3, 1), input_dim=1, num_steps=4, **ROW),
        InputError,
        r"4 rows \(num_steps\).*3 rows",
    ),
    "inputs of a horizon": (
        lambda: read_inputs(torch.zeros(3, 1), input_dim=1, num_steps=4, word="horizon", **ROW),
        InputError,
        r"4 rows \(horizon\).*3 rows.*Give one row per step\.$",
    ),
    "no horizon": (lambda: read_count(0, name="horizon"), InputError, "`horizon`.*at least 1"),
    "half a horizon": (lambda: read_count(2.5, name="horizon"), InputTypeError, "2.5 of type"),
    "boolean horizon": (lambda: read_count(True, name="horizon"), InputTypeError, "bool"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_wrong_rows_and_counts(case: str) -> None:
    """The same for one row, for inputs alone, and for integers."""
    call, error, words = OTHERS[case]
    with pytest.raises(error) as caught:
        call()
    sentence = str(caught.value)
    assert SENTENCE.match(sentence), sentence
    assert re.search(words, sentence), sentence
