"""The autoregressive network: exact by hand, by enumeration where something is missing.

Statistical tests compare means of independent runs with exact values at five standard errors: a
false alarm has a chance below 1e-6 each. Seeds are fixed.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal, Poisson

import statespace as ss
from statespace.errors import InputError, InputTypeError, MethodError, StorageError
from statespace.interface.walking import contexts
from statespace.sequences import read_sequences

F64 = torch.float64


def rnn(m: int, p: int = 0, **how: Any) -> Any:
    return ss.AutoregressiveRNN(m, p, **{"hidden_dim": 4, "dtype": F64, "seed": 2, **how})


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def test_the_likelihood_written_out() -> None:
    """torch.nn.LSTM over [y_{t-1}, u_t] in units of the data, and a normal for each row."""
    model = rnn(2, 1, cell="lstm")
    y, u = 40 + 6 * normal(1, 9, 2), 5 * normal(2, 9, 1)
    model.start_values(_sequences(y, u), torch.Generator())
    mean, sd = y.mean(0), y.std(0, correction=0)
    before = torch.cat([mean[None], y[:-1]])
    x = torch.cat([(before - mean) / sd, (u - u.mean()) / u.std(correction=0)], -1)
    lstm = nn.LSTM(3, 4, dtype=F64)
    lstm.load_state_dict(model.path.kernel.state_dict())
    h, _ = lstm(x[:, None])
    loc, raw = model.head.net(h[:, 0]).chunk(2, -1)
    one = math.log(math.expm1(1 - 1e-3))
    scale = 1e-3 + torch.log1p(torch.exp(raw + one))
    wanted = Normal(mean + sd * loc, sd * scale).log_prob(y).sum()
    found = model.log_likelihood(y, u)
    assert torch.allclose(found, wanted, rtol=1e-12)
    ours = torch.autograd.grad(found, list(model.path.kernel.parameters()))
    theirs = torch.autograd.grad(wanted, list(lstm.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def _sequences(y: Tensor, u: Tensor) -> Any:

    return read_sequences(
        y, u, obs_dim=y.shape[-1], input_dim=u.shape[-1], dtype=F64, device=torch.device("cpu")
    )


@pytest.mark.parametrize(
    ("feedback", "reached"),
    [("both", [1, 1, 1, 0, 0]), ("output", [0, 0, 1, 0, 0]), ("none", [0, 0, 0, 0, 0])],
)
def test_what_is_fed_back(feedback: str, reached: list[int]) -> None:
    """Which y the density of y_4 depends on: the past, the one before, none; never the future."""
    model = rnn(1, 1, feedback=feedback)
    y, u = normal(3, 5, 1).requires_grad_(), normal(4, 5, 1).requires_grad_()
    data = replace(_sequences(y.detach(), u.detach()), values=y, inputs=u)
    ctx = contexts(model, data, None)[1]
    mean = model.emission(torch.zeros(5, 0), ctx).mean[3].sum()
    by_y, by_u = torch.autograd.grad(mean, (y, u), allow_unused=True)
    slopes = torch.zeros(5) if by_y is None else by_y[:, 0]
    assert (slopes.abs() > 1e-9).int().tolist() == reached
    moved = (by_u[:, 0].abs() > 1e-9).int().tolist()
    assert moved == ([0, 0, 0, 1, 0] if feedback == "output" else [1, 1, 1, 1, 0])


def bernoulli(m: int = 1) -> Any:
    model = rnn(m, family="bernoulli", cell="lstm")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(
                0.8 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
            )
    return model


def completions(y: Tensor) -> list[Tensor]:
    """Every way to fill in what is missing of zeros and ones."""
    holes = y.isnan().nonzero().tolist()
    found = []
    for bits in itertools.product([0.0, 1.0], repeat=len(holes)):
        filled = y.clone()
        for place, bit in zip(holes, bits, strict=True):
            filled[tuple(place)] = bit
        found.append(filled)
    return found


GAPPED = torch.tensor(
    [[1, 0], [math.nan, 1], [0, 1], [math.nan, math.nan], [1, 1], [math.nan, 0], [0, 0]], dtype=F64
)


def test_missing_entries_are_integrated_out() -> None:
    """The estimate is unbiased: the mean of p over 400 runs is the sum over all completions."""
    model, method = bernoulli(2), ss.TeacherForcing(num_particles=20)
    whole = torch.stack([model.log_likelihood(y) for y in completions(GAPPED)]).logsumexp(0)
    with torch.no_grad():
        y = GAPPED.expand(400, 7, 2)
        ratio = (model.log_likelihood(y, method=method, seed=0) - whole).exp()
    assert float(ratio.std()) > 0
    assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / 20


def test_the_gradient_of_the_estimate_is_that_of_the_likelihood() -> None:
    """Fisher's identity over what was drawn: the mean of 60 runs, in every head parameter."""
    model, method = bernoulli(2), ss.TeacherForcing(num_particles=200)
    whole = torch.stack([model.log_likelihood(y) for y in completions(GAPPED)]).logsumexp(0)
    params = list(model.head.parameters())
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(whole, params)])
    found = []
    for seed in range(60):
        value = model.log_likelihood(GAPPED, method=method, seed=seed)
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, params)]))
    draws = torch.stack(found)
    error = draws.std(0) / 60**0.5
    assert bool(((draws.mean(0) - wanted).abs() < 5 * error + 0.01 * wanted.abs() + 1e-3).all())


def test_imputation_is_the_posterior() -> None:
    """The smoothed mean of a missing entry is its probability given the rest."""
    model = bernoulli(2)
    every = torch.stack(completions(GAPPED))
    with torch.no_grad():
        weights = model.log_likelihood(every).softmax(0)
    wanted = (weights[:, None, None] * every).sum(0)
    s = model.smooth(GAPPED, method=ss.TeacherForcing(num_particles=20000), seed=0)
    assert torch.allclose(s.y_mean, wanted, atol=0.03)


def test_the_filter_is_exact_up_to_the_first_gap() -> None:
    """Rows before it, and the gap itself, have the increments of the model without gaps."""
    model = bernoulli(2)
    f = model.filter(GAPPED, seed=0)
    complete = GAPPED.nan_to_num(nan=0.0)
    with torch.no_grad():
        one = model.filter(complete).increments
    assert torch.allclose(f.increments[0], one[0])
    # P(y_2 = 1), the first column of row 1 summed out
    other = complete.clone()
    other[1, 0] = 1.0
    both = torch.stack([model.filter(y).increments[1] for y in (complete, other)])
    assert torch.allclose(f.increments[1], both.logsumexp(0))


def test_a_forecast_has_the_probabilities_of_the_model() -> None:
    """P(y_{T+2}) by summing over y_{T+1}; 4000 free runs."""
    model = bernoulli()
    y = torch.tensor([[1.0], [0.0], [1.0]], dtype=F64)
    with torch.no_grad():
        first = model.log_likelihood(y)
        paths = [torch.cat([y, torch.tensor(b, dtype=F64)[:, None]]) for b in
                 itertools.product([0.0, 1.0], repeat=2)]  # fmt: skip
        chances = (torch.stack([model.log_likelihood(p) for p in paths]) - first).exp()
    fc = model.forecast(y, horizon=2, num_samples=4000, seed=0)
    wanted = float(chances[1] + chances[3])
    assert abs(float(fc.mean[1, 0]) - wanted) < 5 * 0.5 / 4000**0.5
    assert float(fc.mean[0, 0]) == pytest.approx(float(chances[2] + chances[3]), rel=1e-9)


@pytest.mark.parametrize("family", ["gaussian", "student_t", "mixture"])
def test_units(family: str) -> None:
    """fit(c y + d) gives the same network, and the same score but for the scale law."""
    more = {"num_components": 2} if family == "mixture" else {}
    y, u = normal(5, 3, 12, 2).cumsum(1), normal(6, 3, 12, 1)
    scores = []
    for c, d in ((1.0, 0.0), (1000.0, -7e4)):
        model = rnn(2, 1, family=family, **more)
        model.fit(c * y + d, c * u + d, learner=ss.Gradient(15), seed=0)
        scores.append(model.score(c * y + d, c * u + d).value + y.numel() * math.log(c))
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_a_fit_begins_near_the_level_of_the_data() -> None:
    """Notes that are rarely played: near the static model from the start; a second fit goes on."""
    y = (torch.rand(8, 30, 20, generator=torch.Generator().manual_seed(0)) < 0.04).double()
    model = rnn(20, family="bernoulli", hidden_dim=16)
    blind = model.score(y).per_step
    model.fit(y, learner=ss.Gradient(1, lr=1e-8), seed=0)
    level = float(Bernoulli(y.mean((0, 1)).clamp(1e-3)).log_prob(y).sum() / 240)
    assert blind < 2.5 * level
    assert model.score(y).per_step > 1.05 * level
    kept = model.head.net[-1].bias.detach().clone()
    model.fit(1 - y, learner=ss.Gradient(1, lr=1e-8), seed=0)
    assert torch.allclose(model.head.net[-1].bias, kept, atol=1e-6)


def test_without_units() -> None:
    """standardise=False: the network sees the numbers as they are."""
    model = rnn(1, standardise=False)
    model.fit(100 + normal(7, 20, 1), learner=ss.Gradient(1), seed=0)
    assert float(model.seen.shift) == 0
    assert float(model.head.units.scale) == 1


class Mine(nn.Module):
    """A head of the user's: counts and a normal side by side would do as well."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 2, dtype=F64)

    def forward(self, x: Tensor) -> Independent:
        return Independent(Poisson(self.net(x).exp(), validate_args=False), 1)


def test_a_head_of_the_users(tmp_path: Path) -> None:
    """It is trained, stored by its weights, and handed over again at load."""
    y = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0], [4.0, 1.0]], dtype=F64)
    model = rnn(2, family=Mine())
    before = model.score(y).value
    model.fit(y, learner=ss.Gradient(20), seed=0)
    after = model.score(y).value
    assert after > before
    model.save(tmp_path / "mine")
    assert ss.load(tmp_path / "mine", family=Mine()).score(y).value == after
    with pytest.raises(StorageError, match="family, which are not stored"):
        ss.load(tmp_path / "mine")


def test_a_state_can_be_continued_by_samples() -> None:
    """sample(state=) goes on from what was read; where something was drawn, from each particle."""
    model = bernoulli(2)
    for y in (GAPPED.nan_to_num(nan=1.0), GAPPED):
        f = model.filter(y, seed=0)
        drawn = model.sample(3, 6, state=f.state, seed=1)
        assert drawn.y.shape == (6, 3, 2)
        fc = model.forecast(state=f.state, horizon=2, num_samples=10, seed=1)
        assert fc.samples.shape == (10, 2, 2)
        assert model.forecast(y, horizon=2, seed=1).mean.shape == (2, 2)


def test_particles_agree_where_nothing_is_missing() -> None:
    """A particle filter on the same model is exact too."""
    model, y = rnn(2), normal(8, 3, 6, 2)
    f = model.filter(y, method=ss.ParticleFilter(3), seed=0)
    assert f.kind == "exact"
    assert torch.allclose(f.log_likelihood, model.filter(y).log_likelihood)


def test_wrong_input_is_refused() -> None:
    """By sentences."""
    for how, words in (
        ({"feedback": "none"}, 'expected "both" or "output" where there is neither'),
        ({"feedback": "inputs"}, '`feedback`: expected "both", "output" or "none"'),
        ({"cell": "gur"}, "`cell`: expected one of"),
        ({"hidden_dim": 0}, "`hidden_dim`"),
        ({"layers": 0}, "`layers`"),
        ({"family": "normal"}, "`family`"),
        ({"hiden_dim": 3}, "hidden_dim"),
    ):
        with pytest.raises((InputError, InputTypeError), match=words):
            rnn(1, **how)
    lds = ss.LDS(1, 1, seed=0)
    with pytest.raises(MethodError, match="TeacherForcing serves Autoregressive models"):
        lds.filter(normal(1, 5, 1), method=ss.TeacherForcing())
    with pytest.raises(InputError, match="num_particles"):
        ss.TeacherForcing(0)
    with pytest.raises(InputError, match="condition"):
        rnn(1, condition_dim=2).filter(normal(1, 5, 1))


@pytest.mark.parametrize("method", [ss.TeacherForcing(20), ss.ParticleFilter(20)], ids=repr)
def test_a_state_that_read_what_was_drawn_makes_an_estimate(method: Any) -> None:
    """Complete rows that go on from a gap hang on its draw; from complete rows they are exact."""
    model, y = rnn(1), normal(0, 12, 1)
    gapped = y.clone()
    gapped[5] = torch.nan  # in the last of the rows before: what was drawn is read afterwards
    for before, kind in ((y, "exact"), (gapped, "estimate")):
        state = model.filter(before[:6], method=method, seed=0).state
        found = model.score(y[6:], state=state, method=method)
        assert found.kind == kind
        assert math.isnan(found.stderr) == (kind == "exact")
        assert model.filter(y[6:], state=state, method=method).kind == kind
        smoothed = model.smooth(y[6:], state=state, method=method)
        assert (smoothed.kind == "exact") == (kind == "exact")
    assert model.score(y, method=method).kind == "exact"
