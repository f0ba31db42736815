"""The short way of a learner to many points gives the numbers of the long way, or none.

Would catch: arrays that do not follow the parameters, a gradient that forgets what a stationary
start owes to A and Q, an answer where the long way refuses, and a short way never taken.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, IDS, Case

import statespace as ss
from statespace.errors import InputError
from statespace.inference.kalman.repeated import Repeated, repeated
from statespace.interface.question import Question, read
from statespace.learning.objective import Objective

L = ss.LDS
STRUCTURAL = {
    "level and noise": lambda: L.local_level().replace(R=None),
    "level alone": L.local_level,
    "trend and seasons": lambda: L.local_trend() + L.seasonal(4),
    "level, cycle and noise": lambda: L.local_level() + L.cycle(),
    "AR(2)": lambda: L.arma(2),
    "ARMA(2, 1)": lambda: L.arma(2, 1),
    "AR(6) and noise": lambda: L.arma(6).replace(R=None),
    "effects of columns": lambda: (
        L.local_level() + L.regression(columns=np.sin(np.arange(80.0)).reshape(40, 2))
    ),
    "no constant": lambda: L.local_trend().replace(R=None, diffuse_constant=False),
    "a tied cycle": lambda: L.cycle(7.0).replace(R=None, initial="diffuse"),
}


def set_up(model: Any, y: Any, u: Any = None) -> tuple[Any, Repeated | None, Objective]:
    """Data, the short way, and an objective that never takes it."""
    data = read(model, y, u, Question())
    objective = Objective(model, ss.Kalman(), data, torch.Generator())
    objective.__dict__["_repeated"] = None
    return data, repeated(model, data), objective


def agree(short: Repeated, objective: Objective) -> None:
    """Value and gradient at the model's point."""
    found = short.gradient(objective.parameters)
    assert found is not None
    value, gradient = objective.gradient(objective.read())
    assert gradient is not None
    assert found[0] == pytest.approx(value, rel=1e-11, abs=1e-9)
    size = float(gradient.abs().max()) if gradient.numel() else 1.0
    np.testing.assert_allclose(found[1], gradient.numpy(), rtol=1e-8, atol=1e-9 * size)
    assert short.value() == pytest.approx(value, rel=1e-11, abs=1e-9)


def wave(rows: int) -> torch.Tensor:
    """A rough series of no particular model."""
    g = torch.Generator().manual_seed(1)
    t = torch.arange(rows, dtype=torch.float64)
    return (t / 9).sin() * 2 + 0.1 * t + torch.randn(rows, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("name", STRUCTURAL)
def test_structural_models(name: str, gaps: bool) -> None:
    """At the start values, and at two points beside them."""
    model, y = STRUCTURAL[name](), wave(40)
    if gaps:
        y[[0, 7, 8, 30]] = torch.nan
    model.start_values(read(model, y, None, Question()), torch.Generator().manual_seed(0))
    _, short, objective = set_up(model, y)
    assert short is not None
    x, g = objective.read(), torch.Generator().manual_seed(2)
    for size in (0.0, 0.05, 0.1):
        noise = torch.randn(x.shape, generator=g, dtype=torch.float64)
        objective.write(x * (1 - size * noise.abs()))
        agree(short, objective)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_case(case: Case) -> None:
    """One series after the other: what is answered is right; and what ought to be, is."""
    if case.oracle is None or "many" in case.tags:
        return
    for i, rows in case.series():
        model = case.make()
        u = None if case.u is None else case.u.reshape(-1, *case.u.shape[-2:])[i, : len(rows)]
        if len(rows) == 0:
            continue
        _, short, objective = set_up(model, torch.as_tensor(rows), u)
        if short is None:
            assert case.u is not None or "varying" in case.tags or not np.isfinite(rows).any()
            continue
        if short.gradient(objective.parameters) is not None:
            agree(short, objective)
        else:
            assert len(rows) <= 2 * model.latent_dim or not np.isfinite(rows).all()


def test_estimated_starts_and_dense_noise() -> None:
    """Learned moments of z_1, and all of R."""
    g = torch.Generator().manual_seed(4)
    y = torch.randn(30, 3, generator=g, dtype=torch.float64)
    model = ss.LDS(2, 3, seed=0, b=ss.Param([0.1, -0.2]))
    _, short, objective = set_up(model, y)
    assert short is not None
    agree(short, objective)
    y[3, 1] = y[9] = torch.nan
    _, short, objective = set_up(model, y)
    assert short is not None
    agree(short, objective)


def test_a_stationary_mean() -> None:
    """(I - A)^-1 b moves with both."""
    model = ss.LDS(
        2, 1, A=ss.Param([[0.5, 0.2], [-0.1, 0.6]]), b=ss.Param([0.4, 0.1]), C=[[1.0, 0.5]],
        Q=ss.Param([[0.5, 0.1], [0.1, 0.4]]), R=ss.Param([[0.3]]), initial="stationary",
    )  # fmt: skip
    _, short, objective = set_up(model, wave(25))
    assert short is not None
    agree(short, objective)


def test_a_start_that_is_stationary_for_the_time_of_a_fit() -> None:
    """Moments that one series cannot tell are those of A and Q, whatever numbers they have now."""
    model, y = ss.LDS(2, 1, seed=3, initial_mean=ss.Param([5.0, -3.0])), wave(40)
    model.kinds = ("stationary", "stationary")
    _, short, objective = set_up(model, y)
    assert short is not None
    agree(short, objective)


def test_what_has_no_stationary_start_is_refused_as_the_long_way_refuses_it() -> None:
    model, y = L.arma(2), wave(30)
    model.start_values(read(model, y, None, Question()), torch.Generator())
    _, short, objective = set_up(model, y)
    assert short is not None
    x = objective.read()
    x[:2] = torch.tensor([0.5, 0.6])
    assert objective.gradient(x) == (-math.inf, None)
    with pytest.raises(InputError):
        short.gradient(objective.parameters)


def test_nothing_is_answered_for_another_model() -> None:
    """A held number that changed, a parameter that is not its own, other inputs, other dtypes."""
    model, y = STRUCTURAL["level and noise"](), wave(30)
    model.start_values(read(model, y, None, Question()), torch.Generator())
    data, short, objective = set_up(model, y)
    assert short is not None
    assert short.gradient([torch.zeros(1)]) is None
    model.slot("A").held.data[0, 0] = 0.9
    assert short.value() is None
    assert short.gradient(objective.parameters) is None
    assert ss.Kalman(core="plain").repeated(model, data) is None
    single = ss.LDS(1, 1, seed=0, dtype=torch.float32)
    assert repeated(single, read(single, y.float(), None, Question())) is None
    driven = ss.LDS(1, 1, 1, seed=0)
    assert repeated(driven, read(driven, y, torch.zeros(30, 1), Question())) is None
    panel = ss.LDS(1, 1, seed=0)
    assert repeated(panel, read(panel, wave(60).reshape(2, 30, 1), None, Question())) is None


def test_priors_count() -> None:
    """The objective of a model with a prior is the log posterior, on both ways."""
    prior = ss.parameters.InverseWishart(df=5.0, scale=[[2.0]])
    model = L.local_level().replace(R=ss.Param([[1.0]], prior=prior))
    y = wave(30)
    model.start_values(read(model, y, None, Question()), torch.Generator())
    data, _, long = set_up(model, y)
    short = Objective(model, ss.Kalman(), data, torch.Generator())
    x = long.read()
    a, b = long.gradient(x), short.gradient(x)
    assert a[0] == pytest.approx(b[0], rel=1e-12)
    assert b[1] is not None
    torch.testing.assert_close(a[1], b[1], rtol=1e-9, atol=1e-9)
    assert short.value(1.1 * x) == pytest.approx(long.value(1.1 * x), rel=1e-12)


def test_a_variance_that_decays_below_all_numbers() -> None:
    """An invertible ARMA seen without noise: filtered variances fall to zero, and stay numbers."""
    model = L.arma(2, 1)
    model.slot("A").set_([[1.1, -0.5], [1.0, 0.0]])
    model.slot("C").set_([[1.0, 0.4]])
    model.slot("Q").set_([[1.0, 0.0], [0.0, 0.0]])
    y = wave(900)
    _, short, objective = set_up(model, y)
    assert short is not None
    plain = float(model.log_likelihood(y, method=ss.Kalman(core="plain")).detach())
    assert short.value() == pytest.approx(plain, rel=1e-11)
    with torch.no_grad():
        assert ss.Kalman().at_once("log_likelihood", model, y) is not None
    agree(short, objective)
