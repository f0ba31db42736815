"""Bounds of amortised models, where the truth is known: parts that are linear and Gaussian.

Statistical claims compare means of paired runs at five standard errors of the difference: a false
alarm has a chance below 1e-6 each. Seeds are fixed.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

import statespace as ss
from statespace.errors import InputError, MethodError
from statespace.inference.variational.base import stepped_weights
from statespace.interface import Amortised, Context, Guide, lend, seeded
from statespace.sequences import read_sequences

F64 = torch.float64
LINEAR = [c for c in CASES if not c.tags and c.y.ndim < 4 and c.lengths is None]
ids = [c.name for c in LINEAR]


class Exact(Guide):
    """q = p(z_t | z_{t-1}, y), from the dense joint Gaussian: affine in z_{t-1}."""

    reads, reads_prior = frozenset({"z"}), False

    def __init__(self, case: Any) -> None:
        super().__init__()
        self.case = case

    def encode(self, data: Any, h: Tensor) -> Any:
        found = []
        for i, y in self.case.series():
            s = self.case.oracle(i, y).smoothed()
            T, n = s.mean.shape
            joint = s.joint.reshape(T, n, T, n)
            gains, shifts, roots = [], [], []
            for t in range(T):
                here = joint[t, :, t]
                gain = np.zeros((n, n))
                if t:
                    cross, before = joint[t, :, t - 1], joint[t - 1, :, t - 1]
                    gain = np.linalg.solve(before, cross.T).T
                    here = here - gain @ cross.T
                last = s.mean[t - 1] if t else np.zeros(n)
                gains.append(gain)
                shifts.append(s.mean[t] - gain @ last)
                roots.append(np.linalg.cholesky((here + here.T) / 2))
            found.append([np.stack(x) for x in (gains, shifts, roots)])
        stacked = [torch.as_tensor(np.stack(x)) for x in zip(*found, strict=True)]
        lead = data.batch_shape
        flat = [x.reshape(*lead, *x.shape[1:]) for x in stacked]
        return tuple(x.flatten(len(lead) + 1) for x in flat)

    def forward(self, z: Tensor, e: Any, ctx: Any, prior: Any) -> Any:
        n = z.shape[-1]
        gain, shift, root = e[0].unflatten(-1, (n, n)), e[1], e[2].unflatten(-1, (n, n))
        mean = (gain @ z[..., None])[..., 0] + shift
        return MultivariateNormal(mean, scale_tril=root, validate_args=False)


class Loose(Guide):
    """Pulls the prior's mean a little towards y_t, and is broader: causal, and wrong."""

    causal, reads = True, frozenset({"z"})

    def __init__(self, n: int, m: int, causal: bool = True) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(1)
        self.toward = nn.Parameter(0.1 * torch.randn(n, m, dtype=F64, generator=g))
        self.broad = nn.Parameter(torch.full((n,), 1.3, dtype=F64))
        self.causal = causal

    def encode(self, data: Any, h: Tensor) -> Any:
        return torch.where(data.observed, data.values, 0.0)

    def forward(self, z: Tensor, e: Any, ctx: Any, prior: Any) -> Any:
        scale = self.broad * prior.variance.sqrt()
        mean = prior.mean + e @ self.toward.mT
        return Independent(Normal(mean, scale.expand(mean.shape), validate_args=False), 1)


class Guided(Amortised):
    """An LDS that does not say that it is one, with a guide."""

    def __init__(self, lds: Any, guide: Guide) -> None:
        super().__init__()
        self.lds, self.guide = lds, guide
        self.latent, self.obs_dim, self.input_dim = lds.latent, lds.obs_dim, lds.input_dim

    def initial(self, ctx: Any) -> Any:
        return self.lds.initial(ctx)

    def transition(self, z: Any, ctx: Any) -> Any:
        return self.lds.transition(z, ctx)

    def emission(self, z: Any, ctx: Any) -> Any:
        return self.lds.emission(z, ctx)

    def default_method(self) -> Any:
        return ss.ImportanceWeighted(8)

    def default_learner(self) -> Any:
        return ss.Gradient(10)


@pytest.mark.parametrize("case", LINEAR, ids=ids)
def test_with_the_exact_posterior_every_sample_is_the_likelihood(case: Any) -> None:
    """log p(z, y) - log q(z | y) is log p(y) for each draw: gaps, inputs, batches included."""
    lds = case.make()
    wanted = lds.log_likelihood(**case.data()).detach()
    model = Guided(lds, Exact(case))
    for method in (ss.Variational(kl="sampled"), ss.ImportanceWeighted(5)):
        for seed in range(3):
            found = model.log_likelihood(**case.data(), method=method, seed=seed).detach()
            assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-9)
    smoothed = lds.smooth(**case.data()).mean
    s = model.smooth(**case.data(), method=ss.Variational(4000), seed=0)
    assert s.kind == "approximate"
    error = s.cov.diagonal(dim1=-2, dim2=-1).sqrt() / 4000**0.5
    assert bool(((s.mean - smoothed).abs() < 5 * error + 1e-9).all())


def runs(model: Any, method: Any, data: dict[str, Any], count: int) -> Tensor:
    """Independent runs, summed over series."""
    with torch.no_grad():
        found = [model.log_likelihood(**data, method=method, seed=s).sum() for s in range(count)]
    return torch.stack(found)


def test_bounds_rise_to_the_likelihood() -> None:
    """ELBO <= IWAE(K), nondecreasing in K, <= Kalman; FIVO <= Kalman, and tends to it."""
    lds = next(c for c in LINEAR if c.name == "a batch, complete").make()
    data = {"y": lds.sample(8, 3, seed=5).y}
    model = Guided(lds, Loose(2, 2))
    truth = float(lds.log_likelihood(**data).detach().sum())
    ladder = [ss.Variational(kl="sampled"), *(ss.ImportanceWeighted(k) for k in (4, 16, 64))]
    values = [runs(model, method, data, 60) for method in ladder]
    for low, high in itertools.pairwise(values):
        gap = high - low
        assert float(gap.mean()) > -5 * float(gap.std()) / 60**0.5
    assert float(values[-1].mean() - values[0].mean()) > 1.0
    fivo = [runs(model, ss.FIVO(k), data, 60) for k in (4, 1024)]
    for found in (*values, *fivo):
        assert float(found.mean()) < truth + 5 * float(found.std()) / 60**0.5
    assert float(fivo[0].mean()) < float(fivo[1].mean())
    assert abs(float(fivo[1].mean()) - truth) < 0.25


def test_the_closed_form_is_the_mean_of_the_draws() -> None:
    """KL in closed form has the expectation of the divergence at the draw, and less noise."""
    model = ss.VRNN(2, 2, hidden_dim=4, dtype=F64, seed=0)
    y = torch.randn(4, 6, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    sampled = runs(model, ss.Variational(4, kl="sampled"), {"y": y}, 300)
    closed = runs(model, ss.Variational(4), {"y": y}, 300)
    gap = float(sampled.mean() - closed.mean())
    assert abs(gap) < 5 * float((sampled.var() + closed.var()).sqrt()) / 300**0.5
    assert float(closed.std()) < float(sampled.std())


MODELS = {
    "VRNN": {"encoder": "pointwise"},
    "VRNN causal, residual": {"encoder": "causal", "posterior": "residual"},
    "LSTMStateSpace": {},
    "SRNN": {"encoder": "causal"},
    "SRNN product": {"encoder": "causal", "posterior": "product"},
    "DeepKalmanFilter": {"encoder": "causal"},
    "DeepKalmanFilter mlp": {"encoder": "pointwise", "posterior": "mlp"},
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_three_bounds_with_one_sample_are_one_number(name: str, gaps: bool) -> None:
    """ELBO = IWAE(1) = FIVO(1), values and gradients: all of time at once against row by row."""
    model: Any = getattr(ss, name.split()[0])(
        3, 2, 1, hidden_dim=5, dtype=F64, seed=0, **MODELS[name]
    )
    g = torch.Generator().manual_seed(2)
    y, u = (torch.randn(3, 9, k, dtype=F64, generator=g) for k in (2, 1))
    if gaps:
        y[0, 3, 1], y[1, 4] = torch.nan, torch.nan
    lengths = torch.tensor([9, 6, 1])
    values, slopes = [], []
    for method in (ss.Variational(kl="sampled"), ss.ImportanceWeighted(1), ss.FIVO(1)):
        found = model.log_likelihood(y, u, lengths=lengths, method=method, seed=4)
        values.append(found.detach())
        slopes.append(torch.autograd.grad(found.sum(), list(model.parameters())))
    for other, grads in zip(values[1:], slopes[1:], strict=True):
        assert torch.allclose(other, values[0], rtol=1e-10, atol=1e-10)
        for a, b in zip(grads, slopes[0], strict=True):
            assert torch.allclose(a, b, rtol=1e-8, atol=1e-8)


def test_what_a_learner_climbs() -> None:
    """beta, free bits and balance change the objective, and never what is reported."""
    model = ss.SRNN(2, 2, hidden_dim=4, dtype=F64, seed=0, encoder="pointwise")
    z, h = torch.zeros(5, 2, dtype=F64), torch.ones(5, 4, dtype=F64)
    first = model.initial(Context(torch.tensor(0), z[:, :0], h))
    assert torch.equal(first.mean, model.prior(torch.cat([z, h], -1)).mean)  # from z_0 = 0
    y = torch.randn(3, 6, 2, dtype=F64, generator=torch.Generator().manual_seed(1))

    where: dict[str, Any] = {"obs_dim": 2, "input_dim": 0, "dtype": F64, "device": "cpu"}
    data = read_sequences(y, None, **where)

    def objective(method: Any, step: int = 0) -> Tensor:
        with lend(seeded(0, "cpu")[0]) as generator:
            return method.objective(model, data, generator, None, step)

    plain = objective(ss.Variational())
    reported = [
        model.log_likelihood(y, method=ss.Variational(**how), seed=0)
        for how in ({}, {"beta": 0.3}, {"free_bits": 5.0}, {"balance": 0.8})
    ]
    for found in reported:
        assert torch.equal(found, plain)
    half, none = objective(ss.Variational(beta=0.5)), objective(ss.Variational(beta=0.0))
    assert torch.allclose(half, (plain + none) / 2)
    assert bool((none > plain).all())
    warm = ss.Variational(beta=ss.Warmup(10))
    assert torch.allclose(objective(warm, 0), none)
    assert torch.allclose(objective(warm, 5), half)
    assert torch.allclose(objective(warm, 10), plain)
    assert torch.allclose(objective(ss.Variational(free_bits=1e3)), none - 6e3)
    whole = data
    where["lengths"] = torch.tensor([4, 4, 3])
    data = read_sequences(y[:, :4], None, **where)
    few = objective(ss.Variational(free_bits=1e3)) - objective(ss.Variational(beta=0.0))
    assert torch.allclose(few, torch.tensor([-4e3, -4e3, -3e3], dtype=F64))
    data = whole
    assert torch.allclose(objective(ss.Variational(balance=0.7)), plain)
    guide = list(model.guide.posterior.parameters())
    a = torch.autograd.grad(objective(ss.Variational(balance=0.0)).sum(), guide)
    prior = list(model.prior.parameters())
    b = torch.autograd.grad(objective(ss.Variational(balance=0.0)).sum(), prior, allow_unused=True)
    c = torch.autograd.grad(plain.sum(), prior)
    assert all(bool(torch.isfinite(x).all()) for x in a)
    assert not all(torch.allclose(x, z) for x, z in zip(b, c, strict=True) if x is not None)


@pytest.mark.parametrize("name", ["VRNN", "LSTMStateSpace", "SRNN", "DeepKalmanFilter"])
def test_a_bound_goes_on_from_a_state(name: str) -> None:
    """All of time at once from where a filter ended, against the same paths row by row."""
    model: Any = getattr(ss, name)(2, 2, hidden_dim=4, dtype=F64, seed=0, encoder="causal")
    y = torch.randn(3, 7, 2, dtype=F64, generator=torch.Generator().manual_seed(6))
    method = ss.ImportanceWeighted(5)
    state = model.filter(y[:, :3], method=method, seed=0).state
    found = model.log_likelihood(y[:, 3:], state=state, method=method, seed=1)
    where = {"obs_dim": 2, "input_dim": 0, "dtype": F64, "device": torch.device("cpu")}
    data = read_sequences(y[:, 3:], None, **where)
    with lend(seeded(1, "cpu")[0]) as generator:
        rows = stepped_weights(model, data, 5, generator, replace(state, generator=generator))
    assert torch.allclose(found, rows.logsumexp(0) - np.log(5), rtol=1e-10)


def test_the_gradient_of_fivo_is_that_of_its_number() -> None:
    """With the selection held, resampling at every row: by differences of fourth order."""
    model: Any = ss.VRNN(2, 2, hidden_dim=4, dtype=F64, seed=0)
    y = torch.randn(2, 6, 2, dtype=F64, generator=torch.Generator().manual_seed(7))
    params = list(model.parameters())
    g = torch.Generator().manual_seed(8)
    way = [torch.randn(p.shape, dtype=F64, generator=g) for p in params]
    method = ss.FIVO(6, threshold=1.0)
    value = model.log_likelihood(y, method=method, seed=2).sum()
    grads = torch.autograd.grad(value, params)
    ours = sum(float((a * b).sum()) for a, b in zip(grads, way, strict=True))
    begin = [p.detach().clone() for p in params]

    def at(x: float) -> float:
        with torch.no_grad():
            for p, b, w in zip(params, begin, way, strict=True):
                p.copy_(b + x * w)
            return float(model.log_likelihood(y, method=method, seed=2).sum())

    step = 1e-5
    numeric = (at(-2 * step) - 8 * at(-step) + 8 * at(step) - at(2 * step)) / (12 * step)
    assert ours == pytest.approx(numeric, rel=1e-6)


def test_a_guide_that_sees_the_future() -> None:
    """FIVO refuses it, with the reason; a filter proposes from the prior and never looks ahead."""
    model = ss.DeepKalmanFilter(2, 1, hidden_dim=4, dtype=F64, seed=0)
    y = torch.randn(8, 1, dtype=F64, generator=torch.Generator().manual_seed(3))
    with pytest.raises(
        MethodError, match=r"FIVO selects particles by the past.*ImportanceWeighted"
    ):
        model.log_likelihood(y, method=ss.FIVO(4))
    other = y.clone()
    other[5:] += 3
    a, b = (model.filter(v, seed=0).increments[:5] for v in (y, other))
    assert torch.equal(a, b)
    with pytest.raises(MethodError, match="Variational serves Amortised models"):
        ss.LDS(1, 1, seed=0).score(y, method=ss.Variational())


def test_a_fit_by_the_bound_finds_the_scale_of_the_data() -> None:
    """A deep Kalman filter beats independent rows on a slow sine; in any units."""
    g = torch.Generator().manual_seed(5)
    t = torch.arange(40.0, dtype=F64)
    y = torch.sin(t / 3 + 6 * torch.rand(16, 1, dtype=F64, generator=g))[..., None]
    y = 50 + 10 * (y + 0.1 * torch.randn(y.shape, dtype=F64, generator=g))
    model = ss.DeepKalmanFilter(3, 1, hidden_dim=16, dtype=F64, seed=0)
    fit = model.fit(y, learner=ss.Gradient(150, lr=1e-2), seed=0)
    blind = float(Normal(y.mean(), y.std()).log_prob(y).sum())
    assert fit.history[0] < blind
    assert model.score(y, seed=0).value > blind + 0.3 * y.numel()


def test_wrong_settings_are_refused() -> None:
    """By sentences."""
    for make, words in (
        (lambda: ss.Variational(kl="exact"), '`kl`: expected "analytic" or "sampled"'),
        (lambda: ss.Variational(0), "`num_samples`"),
        (lambda: ss.Variational(balance=1.5), "`balance`: expected a number from 0 to 1"),
        (lambda: ss.Variational(free_bits=-1.0), "`free_bits`"),
        (lambda: ss.FIVO(4, threshold=2.0), "`threshold`"),
        (lambda: ss.FIVO(4, "sistematic"), "`resampling`"),
        (lambda: ss.VRNN(2, 1, hidden_dim=4, encoder="backwards"), "`encoder`: expected one of"),
        (lambda: ss.VRNN(2, 1, hidden_dim=4, posterior="flow"), "`posterior`: expected one of"),
        (lambda: ss.VRNN(0, 1, hidden_dim=4), "`latent_dim`"),
    ):
        with pytest.raises(InputError, match=words):
            make()
