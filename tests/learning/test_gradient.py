"""Gradient learning: the same maximum, the same constraints, minibatches, windows, checkpoints."""

from __future__ import annotations

import math

import pytest
import torch

import statespace as ss
from statespace.errors import InputError, StorageError


def panel(series: int = 6, rows: int = 25) -> torch.Tensor:
    return ss.LDS(1, 2, seed=0).sample(rows, (series,), seed=1).y


def model(**kwargs) -> ss.LDS:
    return ss.LDS(1, 2, initial="stationary", **kwargs)


@pytest.fixture(scope="module")
def best() -> float:
    return model().fit(panel(), seed=0).log_likelihood


def test_lbfgs_reaches_the_maximum(best):
    """Without any EM."""
    fit = model().fit(panel(), learner=ss.Gradient(200, optimizer="lbfgs"), seed=0)
    assert fit.converged
    assert fit.log_likelihood == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_comes_near_it(best, optimizer):
    """In 150 updates, whatever the units of the data."""
    for c in (1.0, 1e6):
        learner = ss.Gradient(150, 5e-2, optimizer, schedule="cosine")
        fit = model().fit(c * panel(), learner=learner, seed=0)
        assert not fit.converged
        assert "150 steps" in fit.reason
        assert fit.log_likelihood + 300 * math.log(c) > best - 0.5


def test_minibatches_and_windows_come_near_it(best):
    """Two series an update; ten rows an update with the state carried over."""
    for kwargs in ({"batch_size": 2}, {"window": 10}, {"batch_size": 3, "window": 13}):
        learner = ss.Gradient(240, 5e-2, schedule="linear", clip=5.0, **kwargs)
        fit = model().fit(panel(), learner=learner, seed=0)
        assert fit.log_likelihood > best - 3.0, kwargs


def test_a_window_continues_where_the_last_one_ended():
    """The sum over windows, states carried, is the log-likelihood of the whole."""
    y = panel()
    lds = ss.LDS(1, 2, seed=0)
    seen = []
    fit = lds.fit(
        y,
        learner=ss.Gradient(3, 1e-300, window=10),
        seed=0,
        progress=lambda i, value: seen.append(value),
    )
    assert fit.history[0] == pytest.approx(float(lds.log_likelihood(y).sum().detach()))
    assert len(seen) == 3


def test_a_windows_gradient_takes_the_state_as_given():
    """Finite differences at a held state, in A and Q, which shape a stationary prior too."""
    lds, y = model(A=[[0.8]], Q=[[0.5]], C=[[0.4], [2.0]], R=torch.eye(2)), panel()
    state = lds.filter(y[:, :13]).state
    lds.log_likelihood(y[:, 13:], state=state).sum().backward()
    for name in ("A", "Q"):
        theta = lds.slot(name).theta
        with torch.no_grad():
            ends = []
            for step in (1e-6, -2e-6):
                theta += step
                ends.append(float(lds.log_likelihood(y[:, 13:], state=state).sum()))
            theta += 1e-6
        assert float(theta.grad) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)


def test_constraints_hold():
    """Held entries, ties and structures survive every update."""
    lds = model(C=ss.Param([[1.0], [0.5]], free=[[False], [True]]), R=ss.Param(structure="scalar"))
    lds.fit(panel(), learner=ss.Gradient(20, 0.1), seed=0)
    assert lds.C[0, 0] == 1.0
    assert lds.R[0, 0] == lds.R[1, 1]
    assert lds.R[0, 1] == 0.0
    assert float(torch.linalg.eigvals(lds.A.detach()).abs().max()) < 1


def test_varying_parameters_are_learned():
    """Varying(Param(v)) moves by gradient, row by row."""
    y = panel(series=4)
    c = torch.ones(25, 2, 1, dtype=torch.float64)
    lds = ss.LDS(
        1,
        2,
        C=ss.Varying(ss.Param(c)),
        A=ss.Fixed([[0.5]]),
        Q=ss.Fixed([[1.0]]),
        initial="stationary",
    )
    before = float(lds.fit(y, learner=ss.Gradient(1, 1e-300), seed=0).log_likelihood)
    fit = lds.fit(y, learner=ss.Gradient(30, 5e-2), seed=0)
    assert fit.log_likelihood > before + 1
    assert bool((lds.C.detach() != c).all())


def test_patience_on_validation_data_keeps_the_best():
    """It stops when the held-out likelihood stops rising, and the best point is copied."""
    y = panel()
    held_out = y[4:] * 0.5
    scores = []
    lds = model()
    fit = lds.fit(
        y[:4],
        validation=held_out,
        learner=ss.Gradient(300, 0.1, patience=5),
        seed=0,
        progress=lambda *_: scores.append(float(lds.log_likelihood(held_out).sum().detach())),
    )
    assert fit.converged
    assert "validation" in fit.reason
    final = float(lds.log_likelihood(held_out).sum().detach())
    assert final >= max(scores) - 1e-9


def test_weight_decay_pulls_to_zero():
    """AdamW with a strong decay ends with a smaller A."""
    sizes = []
    for decay in (0.0, 5.0):
        lds = ss.LDS(1, 2, Q=ss.Fixed([[1.0]]), initial="stationary")
        lds.fit(panel(), learner=ss.Gradient(60, 2e-2, "adamw", weight_decay=decay), seed=0)
        sizes.append(abs(float(lds.A.detach())))
    assert sizes[1] < 0.8 * sizes[0]


def test_restarts(best):
    """The best of three ends is kept, with the histories of the others."""
    fit = model().fit(panel(), learner=ss.Gradient(100, optimizer="lbfgs", restarts=2), seed=0)
    assert len(fit.restarts) == 2
    assert fit.log_likelihood > best - 1e-5


def test_the_same_seed_gives_the_same_numbers():
    """Also with minibatches."""
    fits = [
        model().fit(panel(), learner=ss.Gradient(12, 1e-2, batch_size=2), seed=5) for _ in range(2)
    ]
    assert fits[0].history == fits[1].history
    assert fits[0].parameters == fits[1].parameters


def test_an_interrupted_fit_goes_on_from_its_checkpoint(tmp_path):
    """Interrupted and called again it ends bit for bit where an uninterrupted one does."""
    y, path = panel(), tmp_path / "deep" / "fit.safetensors"
    whole = model().fit(y, learner=ss.Gradient(12, 1e-2, batch_size=2), seed=5)

    def stop(i: int, value: float) -> None:
        if i == 8:
            raise KeyboardInterrupt

    learner = ss.Gradient(12, 1e-2, batch_size=2, checkpoint=path)
    with pytest.raises(KeyboardInterrupt):
        model().fit(y, learner=learner, seed=5, progress=stop)
    assert path.exists()
    fit = model().fit(y, learner=learner, seed=5)
    assert fit.history == whole.history
    assert fit.parameters == whole.parameters
    assert not path.exists()


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    """A file of another learner, or of another kind, is a named error; it is left alone."""
    path = tmp_path / "fit.safetensors"

    def stop(i: int, value: float) -> None:
        if i == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model().fit(panel(), learner=ss.Gradient(9, checkpoint=path), progress=stop)
    with pytest.raises(StorageError, match="checkpoint"):
        model().fit(panel(), learner=ss.Gradient(10, checkpoint=path))
    path.write_bytes(b"no checkpoint")
    with pytest.raises(StorageError, match="checkpoint"):
        model().fit(panel(), learner=ss.Gradient(9, checkpoint=path))
    assert path.read_bytes() == b"no checkpoint"


def test_a_step_too_long_is_taken_back():
    """At a learning rate that leaves the stationary region the fit stays finite and feasible."""
    lds = model()
    start = lds.fit(panel(), learner=ss.Gradient(1, 1e-300), seed=0).log_likelihood
    fit = lds.fit(panel(), learner=ss.Gradient(30, 20.0), seed=0)
    assert math.isfinite(fit.log_likelihood)
    assert fit.log_likelihood >= start
    assert float(torch.linalg.eigvals(lds.A.detach()).abs().max()) < 1


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"steps": 0}, "steps"),
        ({"lr": 0.0}, "lr"),
        ({"lr": -1.0}, "lr"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"batch_size": 0}, "batch_size"),
        ({"window": 0}, "window"),
        ({"clip": -1.0}, "clip"),
        ({"schedule": "sqrt"}, "schedule"),
        ({"patience": 0}, "patience"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"optimizer": "lbfgs", "batch_size": 2}, "batch_size"),
        ({"optimizer": "lbfgs", "weight_decay": 0.1}, "weight_decay"),
        ({"checkpoint": "x", "restarts": 1}, "checkpoint"),
    ],
)
def test_settings_out_of_range(settings, word):
    """The sentence names the setting."""
    with pytest.raises(InputError, match=word):
        ss.Gradient(**settings)


def test_minibatches_need_series():
    """One series, or a model for each series, cannot be cut into minibatches."""
    with pytest.raises(InputError, match="batch_size"):
        model().fit(panel()[0], learner=ss.Gradient(5, batch_size=2))
    own = ss.LDS(1, 2, A=ss.Param(torch.zeros(6, 1, 1)))
    with pytest.raises(InputError, match="batch_size"):
        own.fit(panel(), learner=ss.Gradient(5, batch_size=2))


def test_the_schedule_is_a_function_too():
    """It is called with the step, from 0."""
    seen = []

    def schedule(step: int) -> float:
        seen.append(step)
        return 1.0

    model().fit(panel(), learner=ss.Gradient(4, schedule=schedule), seed=0)
    assert seen == [0, 1, 2, 3]
