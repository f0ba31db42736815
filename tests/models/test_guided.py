"""A model with a guide beside it: the same model, smoothed and learned by what networks see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from contract.tiny import MODELS, Discrete, Plain, Switch, ragged_case
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

import statespace as ss
from statespace.errors import InputError, InputTypeError, MethodError, StorageError
from statespace.interface import Guide
from statespace.nn import POSTERIORS

F64 = torch.float64
VECTORS = [name for name, kind in MODELS.items() if kind not in (Discrete, Switch)]


def walk(held: bool = True) -> Any:
    """z_t ~ N(z_{t-1} + 0.05, 10), y_t ~ N(0.5 z_t, 20); Q is learned where it is not held."""
    model = ss.LDS(1, 1, A=[[1.0]], b=[0.05], C=[[0.5]], d=[0.0], Q=[[10.0]], R=[[20.0]],
                   initial_mean=[0.0], initial_cov=[[10.0]])  # fmt: skip
    return model.requires_grad_(not held)


class Own(Guide):
    """The prior's mean moved by a learned multiple of y_t."""

    causal, reads, reads_prior = True, frozenset(), True

    def __init__(self, m: int, n: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(n, m, dtype=F64))

    def encode(self, data: Any, h: Tensor) -> Tensor:
        return torch.where(data.observed, data.values, 0.0) @ self.gain.mT

    def forward(self, z: Any, e: Any, ctx: Any, prior: Any) -> Distribution:
        return Independent(Normal(prior.mean + e, prior.variance.sqrt()), 1)


# ------------------------------------------------------------------ the same model


@pytest.mark.parametrize("name", VECTORS)
def test_it_is_the_model_in_every_density(name: str) -> None:
    """Joint density, draws and particles are those of the model; memories and ragged data too."""
    model = MODELS[name]()
    guided = ss.Guided(model, hidden_dim=3, seed=0)
    assert len(ss.check_model(guided)) == 8
    y, u, lengths = ragged_case(model, missing="y" not in model.reads)
    asked = {"inputs": u, "lengths": lengths}
    drawn = model.sample(y.shape[-2], inputs=u, seed=3)
    again = guided.sample(y.shape[-2], inputs=u, seed=3)
    assert torch.equal(drawn.y, again.y)
    joint = [m.log_joint(drawn.z, y, **asked) for m in (model, guided)]
    assert torch.equal(*joint)
    particles = ss.ParticleFilter(20)
    found = [m.log_likelihood(y, **asked, method=particles, seed=1) for m in (model, guided)]
    assert torch.equal(*found)


def test_what_the_model_refuses_is_refused() -> None:
    """Counts of -1; and only vectors can be drawn with a derivative."""
    counts = ss.NoisyRNN(1, 1, family="poisson", seed=0)
    with pytest.raises(InputError, match="`y`"):
        ss.Guided(counts, hidden_dim=3, seed=0).log_likelihood([[-1.0]], seed=0)
    with pytest.raises(MethodError, match="Guided"):
        ss.Guided(Discrete(), Own(2, 1)).score(torch.zeros(3, 2), torch.zeros(3, 1))


# ------------------------------------------------------------------ only q is learned


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_q_comes_near_the_kalman_smoother(posterior: str) -> None:
    """A few updates: the model keeps its numbers, the bound rises towards the likelihood."""
    model = walk()
    y = model.sample(6, (60,), seed=0).y
    guided = ss.Guided(model, hidden_dim=16, posterior=posterior, seed=0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    exact = model.log_likelihood(y).sum()
    elbo = ss.Variational(20)
    fit = guided.fit(y, learner=ss.Gradient(80, lr=3e-2, schedule="cosine"), seed=0)
    found = guided.log_likelihood(y, method=elbo, seed=1).detach().sum()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert fit.num_params == guided.num_params
    assert guided.num_params == sum(p.numel() for p in guided.guide.parameters())
    gap, first = float(exact - found), float(exact) - fit.history[0]
    assert 0 < gap < 0.25 * first


def test_the_form_of_the_exact_posterior_reaches_it() -> None:
    """The product with the prior, an anticausal encoder: within 0.03 nats of exact per step."""
    model = walk()
    y = model.sample(8, (200,), seed=0).y
    guided = ss.Guided(model, hidden_dim=16, encoder="anticausal", seed=0)
    guided.fit(y, learner=ss.Gradient(150, lr=4e-2, schedule="cosine"), seed=0)
    exact = model.log_likelihood(y).mean()
    bound = guided.log_likelihood(y, method=ss.Variational(50), seed=1).mean()
    assert 0 < float((exact - bound).detach()) / 8 < 0.03


def test_model_and_guide_are_learned_together() -> None:
    """A variance that was given wrong comes back, within a fifth of the likelihood's own."""
    truth = walk()
    y = truth.sample(6, (100,), seed=0).y
    start: Any = walk(held=False).replace(
        **{k: ss.Fixed(getattr(truth, k)) for k in ("A", "b", "C", "d", "Q")}, R=[[5.0]]
    )
    free = start.replace(R=[[5.0]])
    free.fit(y, learner=ss.Gradient(100, optimizer="lbfgs"), seed=0)
    guided = ss.Guided(start, hidden_dim=16, seed=0)
    fit = guided.fit(y, learner=ss.Gradient(200, lr=4e-2, schedule="cosine"), seed=0)
    assert fit.model is guided
    assert guided.num_params == start.num_params + sum(p.numel() for p in guided.guide.parameters())
    assert start.R.item() == pytest.approx(free.R.item(), rel=0.2)


def test_missing_entries_and_lengths_are_seen() -> None:
    """What lies beyond an end changes nothing; a gap changes the encoding."""
    guided = ss.Guided(walk(), hidden_dim=6, seed=0)
    y = walk().sample(6, (3,), seed=0).y.detach()
    lengths = torch.tensor([6, 4, 1])
    other = y.clone()
    other[1, 4:] += 9.0
    how = {"lengths": lengths, "method": ss.Variational(), "seed": 0}
    assert torch.equal(guided.log_likelihood(y, **how), guided.log_likelihood(other, **how))
    gap = y.clone()
    gap[0, 2] = torch.nan
    value, holed = (guided.log_likelihood(v, **how) for v in (y, gap))
    assert not torch.isclose(value[0], holed[0])
    assert torch.equal(value[1:], holed[1:])


# ------------------------------------------------------------------ storage, defaults, refusals


def test_it_is_stored_with_its_model(tmp_path: Path) -> None:
    """Bit for bit, units included; a Module of one's own is handed over again."""
    y = walk().sample(6, (5,), seed=0).y
    guided = ss.Guided(walk(held=False), hidden_dim=5, encoder="causal", posterior="mlp", seed=0)
    guided.fit(y, learner=ss.Gradient(3), seed=0)
    guided.save(tmp_path / "neural")
    again: Any = ss.load(tmp_path / "neural")
    assert torch.equal(again.log_likelihood(y, seed=0), guided.log_likelihood(y, seed=0))
    assert torch.equal(again.guide.seen.scale, guided.guide.seen.scale)
    assert not torch.equal(again.guide.seen.scale, torch.ones(1, dtype=F64))
    assert bool(again.begun)

    def g(z: Tensor, ctx: Any) -> Tensor:
        return z + 2 * z.sin()

    def f(z: Tensor, ctx: Any) -> Tensor:
        return z / 2

    wave = ss.NonlinearGaussian(1, 1, g=g, f=f, Q=[[5.0]], R=[[5.0]], initial_mean=[0.0],
                                initial_cov=[[5.0]])  # fmt: skip
    own = ss.Guided(wave, Own(1, 1))
    with torch.no_grad():
        own.guide.gain.fill_(0.3)  # type: ignore[operator, union-attr]
    own.save(tmp_path / "own")
    with pytest.raises(StorageError, match="guide"):
        ss.load(tmp_path / "own", g=g, f=f)
    again = ss.load(tmp_path / "own", g=g, f=f, guide=Own(1, 1))
    assert torch.equal(again.log_likelihood(y, seed=0), own.log_likelihood(y, seed=0))


def test_methods_where_none_is_named() -> None:
    """A causal guide proposes in a filter; one that sees the future may not."""
    assert ss.Guided(walk(), Own(1, 1)).default_method() == ss.FIVO(64)
    ahead = ss.Guided(walk(), hidden_dim=4, seed=0)
    assert ahead.default_method() == ss.ImportanceWeighted(64)
    assert ahead.learning_method() == ss.Variational()
    with pytest.raises(MethodError, match="Kalman serves LinearGaussian"):
        ahead.score(torch.zeros(3, 1), method=ss.Kalman())


def test_wrong_arguments_are_refused() -> None:
    """By sentences."""
    for make, kind, words in (
        (lambda: ss.Guided(3, hidden_dim=4), InputTypeError, "`model`: expected a model"),
        (lambda: ss.Guided(walk(), 3), InputTypeError, "`guide`: expected a guide"),
        (lambda: ss.Guided(walk()), InputError, "`guide, hidden_dim`.*neither"),
        (lambda: ss.Guided(walk(), Own(1, 1), hidden_dim=4), InputError, "both"),
        (lambda: ss.Guided(walk(), hidden_dim=0), InputError, "`hidden_dim`"),
        (lambda: ss.Guided(walk(), hidden_dim=4, encoder="bothe"), InputError, "`encoder`"),
        (lambda: ss.Guided(walk(), hidden_dim=4, posterior="x"), InputError, "`posterior`"),
        (lambda: ss.Guided(Discrete(), hidden_dim=4), InputError, "a state that is a vector"),
        (lambda: ss.Guided(ss.AutoregressiveRNN(1, hidden_dim=3), hidden_dim=4), InputError,
         "a state that is a vector"),
    ):  # fmt: skip
        with pytest.raises(kind, match=words):
            make()


def test_in_single_precision() -> None:
    """A float32 model brings a float32 guide."""
    model = ss.LDS(2, 2, dtype=torch.float32, seed=0)
    guided = ss.Guided(model, hidden_dim=4, seed=0)
    y = model.sample(5, (3,), seed=0).y.detach()
    assert guided.fit(y, learner=ss.Gradient(2), seed=0).model is guided
    assert guided.smooth(y, seed=0).mean.dtype == torch.float32
    assert {p.dtype for p in guided.parameters()} == {torch.float32}
    assert Plain().dtype == ss.Guided(Plain(), hidden_dim=3, seed=0).dtype


def test_a_model_that_is_held_stays_held_when_stored(tmp_path: Path) -> None:
    """Loaded again, a fit learns the guide alone."""
    guided = ss.Guided(walk(), hidden_dim=4, seed=0)
    guided.save(tmp_path / "guided")
    again = ss.load(tmp_path / "guided")
    assert again.num_params == guided.num_params
    assert not any(p.requires_grad for p in again.model.parameters())
    assert all(p.requires_grad for p in again.guide.parameters())
