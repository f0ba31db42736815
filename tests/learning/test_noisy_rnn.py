"""The learner on noisy networks: it finds a known one, and keeps every promise of its settings."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

import statespace as ss

F64 = torch.float64
PARTICLES = ss.ParticleFilter(500)


def known() -> ss.NoisyRNN:
    """Two states that turn and are squashed: without noise they run into a cycle."""
    emission = torch.randn(4, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    return ss.NoisyRNN(
        2,
        4,
        A=[[1.3, -0.8], [0.8, 1.3]],
        b=[0.2, -0.1],
        C=emission,
        d=[0.0, 1.0, -1.0, 2.0],
        Q=0.05 * torch.eye(2),
        R=0.1 * torch.eye(4),
        initial_mean=[0.0, 0.0],
        initial_cov=0.5 * torch.eye(2),
        W=torch.zeros(2, 0),
        D=torch.zeros(4, 0),
    )


def behind(rnn: ss.StateSpaceModel, held_out: torch.Tensor) -> float:
    """Nats per value that a model predicts worse than the truth, by particles."""
    truth = known().score(held_out, method=PARTICLES, seed=3)
    found = rnn.score(held_out, method=PARTICLES, seed=3)
    assert max(truth.stderr, found.stderr) < 0.002 * truth.n_values
    return truth.per_value - found.per_value


def short(series: int = 4, rows: int = 40) -> torch.Tensor:
    return known().sample(rows, (series,), seed=1).y


def small() -> ss.NoisyRNN:
    return ss.NoisyRNN(2, 4, R=ss.Param(structure="diag"))


# ------------------------------------------------------------------ a known network is found


def test_a_short_fit_comes_near_a_known_network() -> None:
    """Twenty series of 100 rows, 200 updates: more than half of what a linear system leaves."""
    y, held_out = known().sample(100, (20,), seed=1).y, known().sample(100, (10,), seed=2).y
    lds = ss.LDS(2, 4)
    lds.fit(y, seed=0)
    rnn = ss.NoisyRNN(2, 4)
    rnn.fit(y, learner=ss.Gradient(200, 5e-2, schedule="cosine"), seed=0)
    linear = behind(lds, held_out)
    assert linear > 0.04
    assert behind(rnn, held_out) < 0.5 * linear


@pytest.mark.slow
def test_the_gradient_finds_a_known_network() -> None:
    """Back-propagation through the extended filter over 20 series of 200 rows ends within 0.02
    nats per value of the truth on as many that it has not seen; a linear system does not."""
    y, held_out = known().sample(200, (20,), seed=1).y, known().sample(200, (20,), seed=2).y
    lds = ss.LDS(2, 4)
    lds.fit(y, seed=0)
    rnn = ss.NoisyRNN(2, 4)
    rnn.fit(y, learner=ss.Gradient(400, 5e-2, schedule="cosine"), seed=0)
    assert behind(lds, held_out) > 0.04
    assert behind(rnn, held_out) < 0.02


def test_expectation_maximisation_finds_a_known_network() -> None:
    """With its last digits from the gradient: 20 series of 200 rows, within 0.02 nats per value."""
    y, held_out = known().sample(200, (20,), seed=1).y, known().sample(200, (20,), seed=2).y
    rnn = ss.NoisyRNN(2, 4)
    fit = rnn.fit(y, learner=ss.EM(), seed=0)
    assert fit.converged
    assert behind(rnn, held_out) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("method", [ss.ExtendedKalman(), ss.UnscentedKalman()], ids=["EKF", "UKF"])
def test_expectation_maximisation_alone_finds_a_known_network(method: ss.interface.Method) -> None:
    """Without the gradient, it leaves the linear plateau in some hundred iterations."""
    y, held_out = known().sample(200, (20,), seed=1).y, known().sample(200, (20,), seed=2).y
    rnn = ss.NoisyRNN(2, 4)
    rnn.fit(y, method=method, learner=ss.EM(300, polish=False), seed=0)
    assert behind(rnn, held_out) < 0.02


# ------------------------------------------------------------------ what the settings promise


class Steps:
    """Sees every step that Adam is about to take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.norms: list[float] = []
        self.rates: list[float] = []
        inner: Callable[..., None] = torch.optim.Adam.step

        def step(optimizer: torch.optim.Adam, *args: object) -> None:
            group = optimizer.param_groups[0]
            self.norms.append(float(group["params"][0].grad.norm()))
            self.rates.append(group["lr"])
            inner(optimizer, *args)

        monkeypatch.setattr(torch.optim.Adam, "step", step)


@pytest.mark.parametrize("method", [ss.ExtendedKalman(), ss.UnscentedKalman()], ids=["EKF", "UKF"])
def test_windows_carry_the_state(method: ss.ExtendedKalman | ss.UnscentedKalman) -> None:
    """With updates of no length, the windows of one pass add up to the likelihood of the whole."""
    y, rnn = short(), known()
    seen: list[float] = []
    fit = rnn.fit(
        y,
        method=method,
        learner=ss.Gradient(3, 1e-300, window=15),
        seed=0,
        progress=lambda step, value: seen.append(value),
    )
    assert len(seen) == 3
    whole = float(rnn.log_likelihood(y, method=method).sum().detach())
    assert fit.history[0] == pytest.approx(whole, rel=1e-9)
    anew = rnn.log_likelihood(y[:, :15], method=method) + rnn.log_likelihood(
        y[:, 15:30], method=method
    )
    anew = anew + rnn.log_likelihood(y[:, 30:], method=method)
    assert abs(float(anew.sum().detach()) - whole) > 1.0


def test_a_windows_gradient_takes_the_state_as_given() -> None:
    """Finite differences of log p(window given a held state), in A and b."""
    y, rnn = short(), known()
    state = rnn.filter(y[:, :20]).state
    rnn.log_likelihood(y[:, 20:], state=state).sum().backward()
    for name in ("A", "b"):
        theta = rnn.slot(name).theta
        assert theta is not None
        ends = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                theta.view(-1)[0] += step
                ends.append(float(rnn.log_likelihood(y[:, 20:], state=state).sum()))
            theta.view(-1)[0] += 1e-6
        assert theta.grad is not None
        slope = (ends[0] - ends[1]) / 2e-6
        assert float(theta.grad.view(-1)[0]) == pytest.approx(slope, rel=1e-4)


def test_minibatches_see_every_series_once_a_pass() -> None:
    """With updates of no length, the parts of a pass add up to the whole; the seed orders them."""
    y = short(5)
    values = []
    for seed in (0, 0, 1):
        rnn, seen = known(), []
        fit = rnn.fit(
            y,
            learner=ss.Gradient(3, 1e-300, batch_size=2),
            seed=seed,
            progress=lambda step, value, seen=seen: seen.append(value),
        )
        whole = float(rnn.log_likelihood(y).sum().detach())
        assert fit.history == pytest.approx((whole,), rel=1e-9)
        values.append(seen)
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_minibatches_and_windows_learn() -> None:
    """Each comes close to what whole series reach in as many updates."""
    y = short(6)
    whole = small().fit(y, learner=ss.Gradient(90, 5e-2, schedule="cosine"), seed=0)
    for settings in ({"batch_size": 2}, {"window": 14}, {"batch_size": 3, "window": 20}):
        learner = ss.Gradient(90, 5e-2, schedule="cosine", clip=10.0, **settings)  # type: ignore[arg-type]
        fit = small().fit(y, learner=learner, seed=0)
        assert fit.log_likelihood > whole.log_likelihood - 0.05 * y.numel(), settings


def test_gradients_are_clipped_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Adam is given has the norm of `clip` at the most, and its direction."""
    y = short()
    free, clipped = Steps(monkeypatch), None
    small().fit(y, learner=ss.Gradient(4, 1e-300), seed=0)
    assert len(free.norms) == 4
    limit = 0.5 * min(free.norms)
    clipped = Steps(monkeypatch)
    small().fit(y, learner=ss.Gradient(4, 1e-300, clip=limit), seed=0)
    assert clipped.norms == pytest.approx([limit] * 4)
    assert free.norms[:4] != pytest.approx([limit] * 4)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("cosine", [0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]),
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        (lambda step: 2.0**-step, [1.0, 0.5, 0.25, 0.125]),
        (None, [1.0] * 4),
    ],
)
def test_the_schedule_scales_the_learning_rate(
    schedule: object, factors: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step."""
    steps = Steps(monkeypatch)
    small().fit(short(), learner=ss.Gradient(4, 1e-3, schedule=schedule), seed=0)  # type: ignore[arg-type]
    assert steps.rates == pytest.approx([1e-3 * f for f in factors])


def test_early_stopping_keeps_the_best_on_validation_data() -> None:
    """It stops when the held-out likelihood stops rising, and the best parameters were copied."""
    y, held_out = short(2, 30), known().sample(30, (2,), seed=7).y
    rnn, scores = ss.NoisyRNN(3, 4), []
    fit = rnn.fit(
        y,
        validation=held_out,
        learner=ss.Gradient(400, 3e-2, patience=6),
        seed=0,
        progress=lambda *_: scores.append(float(rnn.log_likelihood(held_out).sum().detach())),
    )
    assert fit.converged
    assert "validation" in fit.reason
    assert 6 < len(scores) < 400
    final = float(rnn.log_likelihood(held_out).sum().detach())
    assert final >= max(scores) - 1e-9
    assert final > scores[-1] + 1e-6  # not merely the last


def test_the_best_of_several_starts_is_kept() -> None:
    """With the histories of the others; the likelihood is that of the model as it is left."""
    y = short()
    rnn = small()
    fit = rnn.fit(y, learner=ss.Gradient(30, 5e-2, restarts=2), seed=0)
    assert len(fit.restarts) == 2
    assert fit.log_likelihood == pytest.approx(float(rnn.log_likelihood(y).sum().detach()))
    assert fit.log_likelihood >= max(max(h) for h in (fit.history, *fit.restarts)) - 1e-6


def test_a_bar_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """On the error stream, and only then."""
    small().fit(short(), learner=ss.Gradient(3), seed=0)
    assert capsys.readouterr().err == ""
    small().fit(short(), learner=ss.Gradient(3), seed=0, progress=True)
    assert "Gradient" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{}, {"window": 15}, {"batch_size": 2}])
def test_divergence_is_caught_and_the_best_is_kept(settings: dict[str, int]) -> None:
    """A learning rate a thousand times too large: finite numbers, and nothing is lost on the data
    that decide."""
    y, held_out = short(), known().sample(40, (2,), seed=7).y
    rnn = small()
    rnn.fit(y, learner=ss.Gradient(1, 1e-300), seed=0)
    before = float(rnn.log_likelihood(held_out).sum().detach())
    learner = ss.Gradient(25, 50.0, **settings)  # type: ignore[arg-type]
    fit = rnn.fit(y, validation=held_out, learner=learner, seed=0)
    assert math.isfinite(fit.log_likelihood)
    assert all(bool(torch.isfinite(p).all()) for p in rnn.parameters())
    assert float(rnn.log_likelihood(held_out).sum().detach()) >= before - 1e-9


def test_whole_series_keep_the_best_without_validation_data() -> None:
    """The likelihood never ends below the start, however wild the steps."""
    y = short()
    rnn = small()
    start = rnn.fit(y, learner=ss.Gradient(1, 1e-300), seed=0).log_likelihood
    fit = rnn.fit(y, learner=ss.Gradient(25, 50.0), seed=0)
    assert fit.log_likelihood >= start - 1e-9
    assert fit.log_likelihood == pytest.approx(float(rnn.log_likelihood(y).sum().detach()))
