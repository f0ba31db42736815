"""Wrong input to the verbs that take no series, and wrong states: the same sentences.

`test_wrong_input.py` asks the verbs that take a series; here are `sample`, `start`, `step` and
`log_joint`, `state=`, `method=` and `learner=`, and models without values. Each refusal names the
argument, what was expected, what came and what to do, and leaves the model as it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import statespace as ss
from statespace.errors import StateSpaceError

SENTENCE = re.compile(r"`(?P<argument>[^`]+)`: expected .+, received .+\. .+", re.DOTALL)
Y = np.random.default_rng(0).standard_normal((6, 2))
Z = torch.as_tensor(Y)
Call = Callable[[Any], Any]


def plain() -> Any:
    eye = np.eye(2)
    return ss.LDS(
        2, 2, A=0.5 * eye, C=eye, Q=eye, R=eye, initial_mean=np.zeros(2), initial_cov=eye
    )  # fmt: skip


def pushed() -> Any:
    eye, one = np.eye(2), np.ones((2, 1))
    return ss.LDS(
        2, 2, 1, A=0.5 * eye, B=one, D=one, C=eye, Q=eye, R=eye,
        initial_mean=np.zeros(2), initial_cov=eye,
    )  # fmt: skip


def unset() -> Any:
    return ss.LDS(2, 2)


def other() -> Any:
    return ss.LDS(3, 2, seed=0).start()


# the model, what is asked of it, and the argument that the sentence names
REFUSED: dict[str, tuple[Callable[[], Any], Call, str]] = {
    "sample no rows": (plain, lambda m: m.sample(0), "num_steps"),
    "sample half a row": (plain, lambda m: m.sample(2.5), "num_steps"),
    "sample True": (plain, lambda m: m.sample(True), "num_steps"),
    "sample a negative shape": (plain, lambda m: m.sample(3, (-1,)), "sample_shape"),
    "sample without inputs": (pushed, lambda m: m.sample(3), "inputs"),
    "sample short inputs": (pushed, lambda m: m.sample(3, inputs=np.ones((2, 1))), "inputs"),
    "sample inputs not wanted": (plain, lambda m: m.sample(3, inputs=np.ones((3, 1))), "inputs"),
    "sample a seed of words": (plain, lambda m: m.sample(3, seed="a"), "seed"),
    "sample a negative seed": (plain, lambda m: m.sample(3, seed=-1), "seed"),
    "start a negative batch": (plain, lambda m: m.start(-1), "batch_shape"),
    "start a batch of words": (plain, lambda m: m.start("a"), "batch_shape"),
    "step three entries": (plain, lambda m: m.step(m.start(), [1.0, 2.0, 3.0]), "y_t"),
    "step booleans": (plain, lambda m: m.step(m.start(), np.ones(2, bool)), "y_t"),
    "step complex": (plain, lambda m: m.step(m.start(), np.ones(2, complex)), "y_t"),
    "step a string": (plain, lambda m: m.step(m.start(), "ab"), "y_t"),
    "step inf": (plain, lambda m: m.step(m.start(), [np.inf, 0.0]), "y_t"),
    "step another device": (
        plain, lambda m: m.step(m.start(), torch.ones(2, device="meta")), "y_t"
    ),
    "step without inputs": (pushed, lambda m: m.step(m.start(), [0.0, 0.0]), "u_t"),
    "step inputs not wanted": (plain, lambda m: m.step(m.start(), [0.0, 0.0], [1.0]), "u_t"),
    "step without a state": (plain, lambda m: m.step(None, [0.0, 0.0]), "state"),
    "step another state": (plain, lambda m: m.step(other(), [0.0, 0.0]), "state"),
    "joint an array": (plain, lambda m: m.log_joint(Y, Y), "z"),
    "joint short": (plain, lambda m: m.log_joint(Z[:5], Y), "z"),
    "joint three states": (plain, lambda m: m.log_joint(torch.ones(6, 3).double(), Y), "z"),
    "joint one axis": (plain, lambda m: m.log_joint(Z[:, 0], Y), "z"),
    "joint booleans": (plain, lambda m: m.log_joint(Z > 0, Y), "z"),
    "joint another batch": (plain, lambda m: m.log_joint(Z, np.stack([Y, Y, Y])[:, :5]), "z"),
    "joint wrong y": (plain, lambda m: m.log_joint(Z, np.ones((6, 3))), "y"),
    "joint without inputs": (pushed, lambda m: m.log_joint(Z, Y), "inputs"),
    "a state that is none": (plain, lambda m: m.filter(Y, state=3), "state"),
    "a state of another model": (plain, lambda m: m.filter(Y, state=other()), "state"),
    "a state of another batch": (plain, lambda m: m.filter(Y, state=m.start((2,))), "y"),
    "a method by name": (plain, lambda m: m.filter(Y, method="kalman"), "method"),
    "a learner by name": (plain, lambda m: m.fit(Y, learner="em"), "learner"),
    "wrong validation": (plain, lambda m: m.fit(Y, validation=np.ones((3, 3))), "validation"),
    "a forecast of nothing": (plain, lambda m: m.forecast(horizon=2), "y"),
    "a forecast without inputs": (
        pushed, lambda m: m.forecast(state=m.start(), horizon=2, inputs=np.ones((1, 1))), "inputs"
    ),
    "a quantile above one": (plain, lambda m: m.forecast(Y, horizon=2).quantile(1.5), "q"),
    "filter without values": (unset, lambda m: m.filter(Y), "A"),
    "sample without values": (unset, lambda m: m.sample(3), "A"),
    "start without values": (unset, lambda m: m.start(), "A"),
    "joint without values": (unset, lambda m: m.log_joint(Z, Y), "A"),
    "forecast without values": (unset, lambda m: m.forecast(Y, horizon=1), "A"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(name: str) -> None:
    """Argument, Expected, Received, what to do; parameters and torch's generator as they were."""
    make, call, argument = REFUSED[name]
    model = make()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    with pytest.raises(StateSpaceError) as caught:
        call(model)
    found = SENTENCE.match(str(caught.value))
    assert found, str(caught.value)
    assert argument in re.split(r"[, \[]+", found["argument"]), str(caught.value)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], v) for k, v in after.items())
    assert torch.equal(torch.get_rng_state(), random)


WRONG_VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "asymmetric": ({"Q": [[1.0, 0.5], [0.2, 1.0]]}, "Q"),
    "indefinite": ({"R": [[1.0, 2.0], [2.0, 1.0]]}, "R"),
    "negative": ({"Q": [[-1.0, 0.0], [0.0, 1.0]]}, "Q"),
    "a start that is no covariance": (
        {"initial_mean": [0.0, 0.0], "initial_cov": [[1.0, 0.5], [0.1, 1.0]]}, "initial_cov"
    ),
    "NaN": ({"A": [[np.nan, 0.0], [0.0, 1.0]]}, "A"),
    "infinite": ({"d": [np.inf, 0.0]}, "d"),
    "complex": ({"A": 1j * np.eye(2)}, "A"),
    "booleans": ({"C": np.eye(2, dtype=bool)}, "C"),
    "strings": ({"A": "identity"}, "A"),
    "wrong shape": ({"C": np.ones((3, 2))}, "C"),
    "a wrong word": ({"initial": "diffus"}, "initial"),
    "a wrong dtype": ({"dtype": torch.int64}, "dtype"),
    "no stationary distribution": (
        {"A": np.eye(2), "Q": np.eye(2), "initial": "stationary"}, "A"
    ),
    "two devices": ({"A": torch.eye(2, device="meta"), "C": torch.eye(2)}, "A, B, b, ..."),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_VALUES)
@pytest.mark.parametrize("held", [False, True])
def test_values_refused_in_one_sentence(name: str, held: bool) -> None:
    """The constructor names the parameter, whether its value is a start or held."""
    given, argument = WRONG_VALUES[name]
    if held:
        held_too = {k for k in given if k not in ("initial", "dtype")}
        given = {k: ss.Fixed(v) if k in held_too else v for k, v in given.items()}
    with pytest.raises(StateSpaceError) as caught:
        ss.LDS(2, 2, **given)
    found = SENTENCE.match(str(caught.value))
    assert found, str(caught.value)
    assert found["argument"] == argument


@pytest.mark.parametrize("series", [1, 5])
def test_one_row_is_enough_to_fit(series: int) -> None:
    """T = 1 with n > 1 works: finite numbers, and nothing that only later rows could tell."""
    y = np.random.default_rng(3).standard_normal((series, 1, 1))
    lds = ss.LDS(2, 1)
    fit = lds.fit(y, seed=0)
    assert np.isfinite(fit.log_likelihood)
    assert not (fit.converged and series == 1)
    assert all(bool(torch.isfinite(s.value()).all()) for s in lds.slots.values())


@pytest.mark.parametrize("y", [np.arange(12) % 5, (np.arange(12) % 5).astype(np.float32)])
def test_integers_and_narrow_floats_are_fitted(y: Any) -> None:
    """They are data as float64 is."""
    fit = ss.LDS(1, 1, initial="stationary").fit(y, seed=0)
    wide = ss.LDS(1, 1, initial="stationary").fit(y.astype(float), seed=0)
    assert fit.log_likelihood == wide.log_likelihood
