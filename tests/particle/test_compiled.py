"""The compiled loops give the numbers of the plain ones, for the same seed, row for row.

No statistics here: differences are rounding (1e-10), unless a position falls within rounding of a
rung of cumulative weights, which in this file has a probability of about 1e-9.
"""

from __future__ import annotations

import pytest
import torch
from particle.networks import KINDS, Net, Volatility
from torch.testing import assert_close

import statespace as ss
from statespace.errors import NumericalError
from statespace.inference.particle import compiled, method
from statespace.kernels import Lanes, make_normal
from statespace.particles import SCHEMES

F64 = torch.float64
NEAR = {"rtol": 1e-10, "atol": 1e-10, "equal_nan": True}
FIELDS = (
    "mean", "cov", "predicted_mean", "predicted_cov", "y_mean", "y_cov", "innovations",
    "increments", "log_likelihood", "ess", "ancestors", "particles", "lost",
)  # fmt: skip


def case(kind, rows=7, seed=0):
    """Three series of 7, 5 and 1 rows, an entry and a whole row missing."""
    model = KINDS[kind](True)
    u = torch.randn(3, rows, 1, dtype=F64, generator=torch.Generator().manual_seed(seed))
    u = u[..., : model.input_dim]
    y = model.sample(rows, () if model.input_dim else (3,), inputs=u if model.input_dim else None,
                     seed=seed).y.clone()  # fmt: skip
    y[0, 2, 0], y[1, 3] = torch.nan, torch.nan
    return y, (u if model.input_dim else None), torch.tensor([rows, 5, 1])


def both(kind, monkeypatch, ask):
    """The answer of the declared model, and of the same one that is not."""
    ran = []
    original = compiled.run

    def spied(*args, **kwargs):
        found = original(*args, **kwargs)
        ran.append(found is not None)
        return found

    monkeypatch.setattr(method, "run", spied)
    answers = ask(KINDS[kind](True)), ask(KINDS[kind](False))
    assert ran == [True, False]
    return answers


@pytest.mark.parametrize("proposal", ["bootstrap", "auxiliary"])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_is_plain(kind, scheme, threshold, proposal, monkeypatch):
    """Every field of the record, the state, and the random numbers left over."""
    y, u, lengths = case(kind)
    how = ss.ParticleFilter(37, proposal, resampling=scheme, threshold=threshold)

    def ask(model):
        return model.filter(y, u, lengths=lengths, method=how, seed=3)

    fast, slow = both(kind, monkeypatch, ask)
    for name in FIELDS:
        assert_close(getattr(fast, name), getattr(slow, name), msg=name, **NEAR)
    assert_close(fast.state.belief.z, slow.state.belief.z, **NEAR)
    assert_close(fast.state.belief.log_weights, slow.state.belief.log_weights, **NEAR)
    left = [x.state.generator.get_state() for x in (fast, slow)]
    assert torch.equal(*left)
    assert fast.state.t == slow.state.t == 7


@pytest.mark.parametrize("num", [1, 3, 8, 16, 24, 100])
@pytest.mark.parametrize("batch", [(), (2,), (2, 2)])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_any_number_of_particles_and_series(threshold, num, batch, monkeypatch):
    """Fewer normal numbers than torch makes at once, whole blocks, and what is left over."""
    y = Volatility().sample(6, batch, seed=1).y
    how = ss.ParticleFilter(num, threshold=threshold, resampling="stratified")
    fast, slow = both("volatility", monkeypatch, lambda m: m.filter(y, method=how, seed=5))
    for name in FIELDS:
        assert_close(getattr(fast, name), getattr(slow, name), msg=name, **NEAR)


def test_random_numbers_in_chunks_are_those_of_one_row(monkeypatch):
    """However many rows are drawn at once."""
    y, u, lengths = case("tanh, softplus", rows=40)
    model = KINDS["tanh, softplus"](True)
    values = []
    for chunk in (1, 500, 2**20):
        monkeypatch.setattr(compiled, "_CHUNK", chunk)
        with torch.no_grad():
            values.append(model.log_likelihood(y, u, lengths=lengths, seed=1))
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])


@pytest.mark.parametrize("kind", KINDS)
def test_step_and_continuation(kind, monkeypatch):
    """Step by step, in two parts, and all at once; the likelihood alone is the same too."""
    y, u, _ = case(kind)
    model = KINDS[kind](True)

    def rows(x, part):
        return None if x is None else x[:, part]

    whole = model.filter(y, u, seed=4)
    state = model.start((3,), seed=4)
    for t in range(7):
        state, info = model.step(state, y[:, t], None if u is None else u[:, t])
        assert_close(info.increment, whole.increments[:, t], **NEAR)
    first = model.filter(rows(y, slice(3)), rows(u, slice(3)), seed=4)
    rest = model.filter(rows(y, slice(3, 7)), rows(u, slice(3, 7)), state=first.state)
    assert_close(torch.cat([first.increments, rest.increments], 1), whole.increments, **NEAR)
    with torch.no_grad():
        assert_close(model.log_likelihood(y, u, seed=4), whole.log_likelihood, **NEAR)


def test_one_model_for_each_series(monkeypatch):
    """A batch of models, with parameters that vary in time."""
    g = torch.Generator().manual_seed(0)
    a = ss.Varying(0.5 * torch.randn(5, 2, 2, dtype=F64, generator=g))
    model = ss.LDS(2, 1, A=a, C=torch.randn(3, 1, 2, dtype=F64, generator=g), Q=torch.eye(2),
                   R=[[0.5]], initial_mean=[0.0, 1.0], initial_cov=torch.eye(2))  # fmt: skip
    y = torch.randn(3, 5, 1, dtype=F64, generator=g)
    fast = model.filter(y, method=ss.ParticleFilter(30), seed=1)
    monkeypatch.setattr(method, "run", lambda *args, **kwargs: None)
    slow = model.filter(y, method=ss.ParticleFilter(30), seed=1)
    for name in FIELDS:
        assert_close(getattr(fast, name), getattr(slow, name), msg=name, **NEAR)


def test_a_gradient_goes_by_the_densities():
    """The compiled value has none; where one may be asked for, the plain loop answers."""
    model = Volatility()
    y = model.sample(20, seed=0).y
    value = model.log_likelihood(y, seed=0)
    value.backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        assert_close(model.log_likelihood(y, seed=0), value.detach(), **NEAR)


def test_all_weights_lost_in_a_compiled_loop(monkeypatch):
    """A value that no particle explains within the range of float64, in one series of three."""
    y = torch.zeros(3, 5, 1, dtype=F64)
    y[1, 2] = 1e200
    fast, slow = both("volatility", monkeypatch, lambda m: m.filter(y, seed=0))
    assert fast.lost.tolist() == slow.lost.tolist() == [-1, 2, -1]
    for name in FIELDS:
        assert_close(getattr(fast, name), getattr(slow, name), msg=name, **NEAR)


def test_what_is_no_number_is_left_to_the_plain_loop():
    """Which says where it is, after the same random numbers."""
    model = Net(2, 2)
    model.A = model.A * torch.nan
    y = torch.zeros(4, 2, dtype=F64)
    with pytest.raises((NumericalError, ValueError), match=r"step 1|NaN|nan"):
        model.filter(y, torch.zeros(4, 1, dtype=F64), seed=0)


def test_not_served_are_other_models_and_other_numbers(monkeypatch):
    """A user's own activation, float32, a proposal of a guide: the plain loop, without a word."""
    y = torch.zeros(3, 1, dtype=F64)
    model = Volatility()
    ran = []
    original = compiled.run
    monkeypatch.setattr(method, "run", lambda *a, **k: ran.append(original(*a, **k)) or ran[-1])
    model.filter(y, seed=0)
    assert ran[-1] is not None
    model.float()
    model.network = lambda ctx: pytest.fail("asked")
    assert torch.isfinite(model.filter(y.float(), seed=0).log_likelihood)
    assert ran[-1] is None
    own = Net(1, 1, g=lambda x: x / (1 + x.abs()))
    assert torch.isfinite(own.filter(y, torch.zeros(3, 1, dtype=F64), seed=0).log_likelihood)
    assert ran[-1] is None


@pytest.mark.parametrize("size", [16, 17, 31, 32, 1000])
def test_normal_numbers_are_those_of_torch(size):
    """The stream of torch.randn in float64, from uniform numbers of the same generator."""
    wanted = torch.randn(size, dtype=F64, generator=torch.Generator().manual_seed(1))
    pad = 16 if size % 16 else 0
    draws = torch.rand(size + pad, dtype=F64, generator=torch.Generator().manual_seed(1))
    row = torch.cat([torch.full((5,), 0.5, dtype=F64), draws])[None]
    make_normal(Lanes(8), row.numpy(), 0, 1, 5, size)
    assert_close(row[0, 5 : 5 + size], wanted, rtol=1e-13, atol=1e-13)
    assert bool((row[0, :5] == 0.5).all())
