"""Wrong input to every verb is one sentence that says the argument, what was expected, what came
and what to do; the model is unchanged after it. What only looks odd works.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import statespace as ss

E, TYPE = ss.errors.InputError, ss.errors.InputTypeError
VERBS = ("filter", "smooth", "log_likelihood", "score", "forecast", "fit")


def plain(**kwargs: Any) -> Any:
    eye = np.eye(2)
    return ss.LDS(
        2, 2, A=0.5 * eye, C=eye, Q=eye, R=eye,
        initial_mean=np.zeros(2), initial_cov=eye, **kwargs,
    )  # fmt: skip


def pushed() -> Any:
    eye = np.eye(2)
    return ss.LDS(2, 2, 1, A=0.5 * eye, B=np.ones((2, 1)), D=np.zeros((2, 1)), C=eye, Q=eye, R=eye)


def ask(model: Any, verb: str, y: Any, **kwargs: Any) -> Any:
    if verb == "forecast":
        kwargs.setdefault("horizon", 2)
    return getattr(model, verb)(y, **kwargs)


Y = np.random.default_rng(0).standard_normal((6, 2))
BAD = {
    "three features": (np.ones((6, 3)), {}, E),
    "swapped axes": (np.ones((2, 6)), {}, E),
    "one axis for two outputs": (np.ones(6), {}, E),
    "a number": (3.0, {}, (E, TYPE)),
    "empty": (np.ones((0, 2)), {}, E),
    "booleans": (np.ones((6, 2), dtype=bool), {}, TYPE),
    "complex": (np.ones((6, 2), dtype=complex), {}, TYPE),
    "strings": (np.full((6, 2), "a"), {}, TYPE),
    "None": (None, {}, (E, TYPE)),
    "infinite": (np.where(Y > 1, np.inf, Y), {}, E),
    "a mask of another shape": (Y, {"mask": np.ones((5, 2), dtype=bool)}, E),
    "a length beyond T": (np.stack([Y, Y]), {"lengths": [6, 7]}, E),
    "inputs without input_dim": (Y, {"inputs": np.ones((6, 1))}, E),
    "unsorted index": (pd.DataFrame(Y, index=[0, 1, 3, 2, 4, 5]), {}, E),
    "duplicated index": (pd.DataFrame(Y, index=[0, 1, 2, 2, 4, 5]), {}, E),
    "unknown keyword": (Y, {"maks": None}, TYPE),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", BAD)
def test_refused(verb: str, name: str) -> None:
    """A named error with a sentence; parameters as they were."""
    y, kwargs, error = BAD[name]
    model = plain()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(error) as caught:
        ask(model, verb, y, **kwargs)
    says = str(caught.value)
    assert isinstance(caught.value, ss.errors.StateSpaceError)
    assert "xpected" in says or "unknown" in says.lower()
    assert "received" in says.lower() or "unknown" in says.lower()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "inputs", [None, np.ones((5, 1)), np.ones((6, 2)), np.full((6, 1), np.nan)],
    ids=["missing", "too short", "too wide", "with a gap"],
)  # fmt: skip
def test_inputs_refused(verb: str, inputs: Any) -> None:
    """A model with inputs asks for all of them, finite."""
    kwargs = {} if inputs is None else {"inputs": inputs}
    with pytest.raises(E, match="inputs"):
        ask(pushed(), verb, Y, **kwargs)


@pytest.mark.parametrize("horizon", [0, -1, 1.5, True])
def test_horizon_refused(horizon: Any) -> None:
    """A horizon is a whole number of rows, one at least."""
    with pytest.raises((E, TYPE), match="horizon"):
        plain().forecast(Y, horizon=horizon)


def test_inputs_of_the_future() -> None:
    """A forecast of 2 rows after 6 wants 8 rows of inputs, and says so."""
    with pytest.raises(E, match="8"):
        pushed().forecast(Y, horizon=2, inputs=np.ones((6, 1)))


@pytest.mark.parametrize("verb", VERBS[:5])
@pytest.mark.parametrize(
    "y",
    [
        torch.ones(6, 2, dtype=torch.int32), torch.ones(6, 2, dtype=torch.float32),
        np.ones((1, 2)), pd.DataFrame(Y), [Y, Y[:3]], np.full((6, 2), np.nan),
    ],
    ids=["integers", "float32", "one row", "a frame", "ragged", "nothing seen"],
)  # fmt: skip
def test_odd_but_right(verb: str, y: Any) -> None:
    """These are data, and are read as what they are."""
    out = ask(plain(), verb, y)
    assert out is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Q", [[1.0, 2.0], [2.0, 1.0]]), ("Q", [[1.0, 0.5], [0.2, 1.0]]),
        ("R", [[-1.0, 0.0], [0.0, 1.0]]), ("A", [[np.nan, 0.0], [0.0, 1.0]]),
        ("A", np.ones((3, 3))), ("C", np.ones((3, 2))), ("initial_mean", np.ones(3)),
        ("A", "identity"), ("Q", np.diag([np.inf, 1.0])),
    ],
)  # fmt: skip
def test_parameters_refused(key: str, value: Any) -> None:
    """A constructor names the parameter that cannot be."""
    good = {"A": np.eye(2) / 2, "C": np.eye(2), "Q": np.eye(2), "R": np.eye(2)}
    with pytest.raises(ss.errors.StateSpaceError, match=key):
        ss.LDS(2, 2, **{**good, key: value})


def test_unknown_argument_of_the_constructor() -> None:
    """A misspelt name is not swallowed."""
    with pytest.raises(TypeError, match="inital_mean"):
        ss.LDS(2, 2, inital_mean=np.zeros(2))


@pytest.mark.parametrize("column", [0, 1])
def test_all_nan_column_in_fit(column: int) -> None:
    """fit refuses a column of which nothing was seen, by its number, and changes nothing."""
    y = Y.copy()
    y[:, column] = np.nan
    model = plain()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(E, match=f"column {column}"):
        model.fit(y, seed=0)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("kind", ["constant", "zero", "duplicated"])
def test_columns_that_cannot_be_fitted(kind: str) -> None:
    """A status that names the column; never NaN called converged."""
    y = np.random.default_rng(1).standard_normal((40, 2))
    y[:, 1] = {"constant": 3.0, "zero": 0.0}.get(kind, y[:, 0])
    fit = ss.LDS(1, 2).fit(y, learner=ss.EM(max_iter=20), seed=0)
    words = fit.reason + " ".join(fit.warnings)
    assert "column 1" in words
    assert not (fit.converged and not np.isfinite(float(fit.log_likelihood)))


def test_device_mix() -> None:
    """Data on another device than the model's are refused by name."""
    with pytest.raises(ss.errors.StateSpaceError, match="device"):
        plain().filter(torch.ones(6, 2, device="meta"))


def test_nothing_broadcasts_in_silence() -> None:
    """(T, 1) against (T,) is one series with one feature, in either form, with the same answer."""
    lds = ss.LDS(1, 1, A=[[0.5]], C=[[1.0]], Q=[[1.0]], R=[[1.0]], initial="stationary")
    flat, column = lds.filter(Y[:, 0]), lds.filter(Y[:, :1])
    assert flat.y_mean.shape == (6,)
    assert column.y_mean.shape == (6, 1)
    assert torch.equal(flat.log_likelihood, column.log_likelihood)
