"""What was not observed is marginalised or drawn given the rest; Gaussians of any rank."""

import math

import pytest
import torch
from contract.tiny import F64
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import (
    Bernoulli,
    Categorical,
    Gamma,
    Independent,
    LogNormal,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    TransformedDistribution,
    kl_divergence,
)
from torch.distributions.transforms import CumulativeDistributionTransform, ExpTransform
from torch.testing import assert_close

from statespace.beliefs import Switching
from statespace.densities import (
    Chain,
    GaussianRoot,
    category_probs,
    complete,
    moments,
    observed_log_prob,
)
from statespace.errors import DerivativeError, InputError


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def dense(mean, cov, y):
    """The log density of the entries of y that are not NaN."""
    seen = ~y.isnan()
    law = MultivariateNormal(mean[seen], cov[seen][:, seen])
    return law.log_prob(y[seen]) if bool(seen.any()) else torch.zeros((), dtype=F64)


ROOT = torch.tensor([[1.0, 0.0, 0.0, 0.3], [0.5, 0.8, 0.0, 0.1], [-0.7, 0.2, 0.6, 0.0]], dtype=F64)
MEAN = torch.tensor([0.3, -1.0, 2.0], dtype=F64)


def gaussians():
    cov = ROOT @ ROOT.mT
    diag = torch.full((3,), 0.5, dtype=F64)
    factor = ROOT[:, :2]
    return {
        "root": (GaussianRoot(MEAN, ROOT), cov),
        "mvn": (MultivariateNormal(MEAN, cov), cov),
        "low rank": (
            LowRankMultivariateNormal(MEAN, factor, diag),
            factor @ factor.mT + torch.diag(diag),
        ),
    }


@pytest.mark.parametrize("kind", ["root", "mvn", "low rank"])
@given(missing=st.lists(st.booleans(), min_size=3, max_size=3), seed=st.integers(0, 9))
def test_gaussians_are_marginalised(kind, missing, seed):
    """The density of the observed entries is that of their own Gaussian, gradient and all."""
    law, cov = gaussians()[kind]
    y = randn(3, seed=seed)
    holes = torch.where(torch.tensor(missing), torch.nan, y)
    wanted = dense(MEAN, cov, holes)
    got = observed_log_prob(
        law, torch.where(torch.tensor(missing), 99.0, y), ~torch.tensor(missing)
    )
    assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["root", "mvn", "low rank"])
def test_gaussians_are_completed(kind):
    """Missing entries are drawn from the conditional: mean and covariance of 40000 draws.

    5 standard errors for each of 18 numbers: one false alarm in a hundred thousand.
    """
    law, cov = gaussians()[kind]
    y, seen = torch.tensor([1.0, 0.0, 0.5], dtype=F64), torch.tensor([True, False, True])
    torch.manual_seed(1)
    draws = complete(law.expand((40000,)), y, seen)
    assert torch.equal(draws[:, seen], y[seen].expand(40000, 2))
    s = cov[seen][:, seen]
    gain = torch.linalg.solve(s, cov[seen][:, ~seen])[:, 0]
    mean = MEAN[1] + gain @ (y - MEAN)[seen]
    var = cov[1, 1] - gain @ cov[seen][:, ~seen][:, 0]
    found = draws[:, 1]
    assert abs(float((found.mean() - mean) / (var / 40000).sqrt())) < 5
    assert abs(float(found.var() / var) - 1) < 5 * math.sqrt(2 / 40000)


def test_nothing_observed_is_the_law_itself():
    """And everything observed is y."""
    law = GaussianRoot(MEAN, ROOT)
    torch.manual_seed(0)
    draws = complete(law.expand((40000,)), MEAN * 0, torch.zeros(3, dtype=torch.bool))
    scale = (ROOT @ ROOT.mT).diagonal().sqrt()
    assert bool(((draws.mean(0) - MEAN).abs() < 5 * scale / 200).all())
    y = randn(3)
    assert torch.equal(complete(law, y, torch.ones(3, dtype=torch.bool)), y)


@given(
    st.sampled_from([(), (2,), (3, 2)]),
    st.sampled_from([(), (2,), (3, 2)]),
    st.sampled_from([(), (2,), (4, 3, 2)]),
    st.booleans(),
)
def test_batches_broadcast(root_shape, mean_shape, value_shape, holes):
    """Root, mean and value each with leading axes of their own, observed in part or not."""
    torch.manual_seed(0)
    root = ROOT + 0.1 * torch.randn(*root_shape, 3, 4, dtype=F64)
    mean = torch.randn(*mean_shape, 3, dtype=F64)
    y = torch.randn(*value_shape, 3, dtype=F64)
    seen = torch.rand(*value_shape, 3) > 0.4 if holes else torch.ones(*value_shape, 3) > 0
    law = GaussianRoot(mean, root)
    got = observed_log_prob(law, y, seen)
    lead = torch.broadcast_shapes(root_shape, mean_shape, value_shape)
    assert got.shape == lead
    roots, means = root.expand(*lead, 3, 4).reshape(-1, 3, 4), mean.expand(*lead, 3).reshape(-1, 3)
    ys = torch.where(seen, y, torch.nan).expand(*lead, 3).reshape(-1, 3)
    wanted = [dense(m, r @ r.mT, v) for m, r, v in zip(means, roots, ys, strict=True)]
    assert_close(got.reshape(-1), torch.stack(wanted), rtol=1e-11, atol=1e-11)
    assert complete(law.expand(lead), y, seen).shape == (*lead, 3)


# ---------------------------------------------------------------- singular Gaussians


@given(st.sampled_from([1e-8, 1.0, 1e8]), st.integers(0, 5))
def test_a_singular_gaussian_lives_on_its_plane(scale, seed):
    """On the plane the density is that of the coordinates in it; off the plane -inf.

    The coordinates are taken along an orthonormal basis of the plane, in units of y.
    """
    root = scale * torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]], dtype=F64)  # rank 2 in 3
    law = GaussianRoot(scale * MEAN, root)
    torch.manual_seed(seed)
    y = law.sample()
    basis = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=F64)
    basis = basis / basis.norm(dim=0)
    inner = (y - law.mean) @ basis
    reduced = basis.mT @ (root @ root.mT) @ basis
    wanted = MultivariateNormal(torch.zeros(2, dtype=F64), reduced).log_prob(inner)
    assert_close(law.log_prob(y), wanted, rtol=1e-9, atol=1e-9)
    off = y + scale * torch.tensor([1e-3, 0.0, 0.0], dtype=F64)
    assert float(law.log_prob(off)) == -math.inf


def test_a_known_value_has_probability_one():
    """A root of zeros: 0 at the mean, -inf elsewhere; missing entries are integrated out."""
    law = GaussianRoot(MEAN, torch.zeros(3, 1, dtype=F64))
    assert float(law.log_prob(MEAN)) == 0.0
    assert float(law.log_prob(MEAN + 1e-9)) == -math.inf
    seen = torch.tensor([True, False, True])
    wrong_where_missing = MEAN + torch.tensor([0.0, 5.0, 0.0])
    assert abs(float(observed_log_prob(law, wrong_where_missing, seen))) < 1e-12
    assert torch.equal(complete(law, MEAN * 0, ~seen & seen), MEAN)


def test_no_columns_and_no_rows():
    """A root of width 0 is no noise; a state of size 0 has density one."""
    still = GaussianRoot(MEAN, torch.zeros(3, 0, dtype=F64))
    assert torch.equal(still.sample((4,)), MEAN.expand(4, 3))
    assert float(still.log_prob(MEAN)) == 0.0
    nothing = GaussianRoot(torch.zeros(5, 0), torch.zeros(0, 0))
    assert nothing.sample().shape == (5, 0)
    assert torch.equal(nothing.log_prob(torch.zeros(7, 5, 0)), torch.zeros(7, 5))


def test_the_density_on_a_plane_has_no_derivative():
    """A named error, not a silent number; draws are differentiable."""
    root = torch.tensor([[1.0], [2.0]], dtype=F64, requires_grad=True)
    mean = torch.zeros(2, dtype=F64, requires_grad=True)
    law = GaussianRoot(mean, root)
    torch.manual_seed(0)
    y = law.rsample()
    y.sum().backward()
    assert bool(torch.isfinite(root.grad).all())
    value = law.log_prob(y.detach())
    with pytest.raises(DerivativeError, match="no derivative"):
        value.backward()


def test_samples_of_a_root():
    """Covariance of 40000 draws, wide root, float32 too."""
    for dtype in (F64, torch.float32):
        law = GaussianRoot(MEAN.to(dtype), ROOT.to(dtype))
        torch.manual_seed(0)
        draws = law.sample((40000,))
        assert draws.dtype == dtype
        cov = ROOT @ ROOT.mT
        bound = 5 * (cov.diagonal()[:, None] * cov.diagonal() + cov**2).sqrt() / 200
        assert bool(((torch.cov(draws.mT).to(F64) - cov).abs() < bound).all())
        assert_close(law.variance.to(F64), cov.diagonal(), rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- densities that factorise


FACTORISED = {
    "normal": lambda p: Normal(p, 1.0),
    "student": lambda p: StudentT(4.0, p, 1.0),
    "bernoulli": lambda p: Bernoulli(logits=p),
    "poisson": lambda p: Poisson(p.exp()),
    "lognormal": lambda p: LogNormal(p, 1.0),
    "gamma": lambda p: Gamma(p.exp(), 1.0),
    "categorical": lambda p: Categorical(logits=torch.stack([p, -p, 2 * p], -1)),
    "mixture": lambda p: MixtureSameFamily(
        Categorical(logits=torch.zeros(*p.shape, 2, dtype=F64)),
        Normal(torch.stack([p, p + 3], -1), 1.0),
    ),
}


@pytest.mark.parametrize("name", FACTORISED)
def test_independent_entries(name):
    """Missing entries drop out, value and gradient, whatever the support; the rest is drawn."""
    p = randn(5, 3).requires_grad_()
    law = Independent(FACTORISED[name](p), 1)
    torch.manual_seed(0)
    y = law.sample()
    seen = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 0], [1, 0, 1], [0, 0, 1]]).bool()
    blank = torch.where(seen, y, torch.zeros((), dtype=y.dtype))
    got = observed_log_prob(law, blank, seen)
    wanted = torch.where(seen, law.base_dist.log_prob(y), 0.0).sum(-1)
    assert_close(got, wanted)
    (grad,) = torch.autograd.grad(got.sum(), p)
    assert bool(torch.isfinite(grad).all())
    assert float(grad[~seen].abs().sum()) == 0.0
    filled = complete(law, blank, seen)
    assert filled.dtype == y.dtype
    assert torch.equal(filled[seen], y[seen])
    assert bool(law.base_dist.support.check(filled).all())


def test_mixtures_of_gaussians():
    """Observed entries choose among components; the missing ones are drawn from the chosen."""
    means = torch.tensor([[-5.0, -5.0], [5.0, 5.0]], dtype=F64)
    covs = torch.tensor([[[1.0, 0.5], [0.5, 1.0]], [[1.0, -0.5], [-0.5, 2.0]]], dtype=F64)
    weights = torch.tensor([0.3, 0.7], dtype=F64)
    law = MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covs))
    y, seen = torch.tensor([4.0, 0.0], dtype=F64), torch.tensor([True, False])
    each = [dense(means[c], covs[c], torch.where(seen, y, torch.nan)) for c in range(2)]
    wanted = (weights.log() + torch.stack(each)).logsumexp(0)
    assert_close(observed_log_prob(law, y, seen), wanted)
    torch.manual_seed(0)
    draws = complete(law.expand((20000,)), y, seen)
    assert torch.equal(draws[:, 0], torch.full((20000,), 4.0, dtype=F64))
    mean, var = 5.0 - 0.5 * (4.0 - 5.0), 2.0 - 0.25
    assert abs(float(draws[:, 1].mean()) - mean) < 5 * math.sqrt(var / 20000)
    assert abs(float(draws[:, 1].var()) / var - 1) < 0.06
    found = moments(law)
    torch.manual_seed(0)
    free = law.sample((200000,))
    assert_close(found[0], free.mean(0), atol=0.1, rtol=0)
    assert_close(found[1], torch.cov(free.mT), atol=0.5, rtol=0)


@pytest.mark.parametrize(
    "law",
    [
        TransformedDistribution(
            Independent(Normal(torch.zeros(2), 1.0), 1), [ExpTransform()], validate_args=False
        ),
        Independent(MultivariateNormal(torch.zeros(3, 2), torch.eye(2)), 1),
    ],
)
def test_other_heads_take_whole_rows(law):
    """A row observed in part is refused with a sentence; whole rows and no rows are fine."""
    y = torch.ones(*law.event_shape)
    every = torch.ones_like(y, dtype=torch.bool)
    if y.dim() == 1:
        assert_close(observed_log_prob(law, y, every), law.log_prob(y))
        assert float(observed_log_prob(law, y, ~every)) == 0.0
        assert torch.equal(complete(law, y, every), y)
        part = every.clone()
        part[0] = False
        for ask in (observed_log_prob, complete):
            with pytest.raises(InputError, match="whole rows"):
                ask(law, y, part)


@pytest.mark.parametrize("nested", [False, True])
def test_gradients_are_finite_where_zero_is_no_value(nested):
    """A density on the positive numbers, of a class that has no mean."""
    p = randn(5, 3).requires_grad_()
    base = Normal(p, 1.0) if nested else Independent(Normal(p, 1.0), 1)
    law = TransformedDistribution(base, [ExpTransform()], validate_args=False)
    law = Independent(law, 1) if nested else law
    y = torch.rand(5, 3, dtype=F64) + 0.5
    seen = torch.tensor([0, 1, 1, 0, 1])[:, None].expand(5, 3) > 0
    value = observed_log_prob(law, torch.where(seen, y, 0.0), seen)
    assert_close(value[1], law.log_prob(y)[1])
    (grad,) = torch.autograd.grad(value.sum(), p)
    assert bool(torch.isfinite(grad).all())
    assert float(grad[~seen].abs().sum()) == 0.0


def test_a_head_of_your_own_joins_by_registration():
    """Single dispatch on the class of the distribution."""

    class Mine(Normal):
        pass

    observed_log_prob.register(Mine, lambda d, y, o: torch.tensor(17.0))
    assert float(observed_log_prob(Mine(0.0, 1.0), torch.zeros(1), torch.tensor([False]))) == 17.0


def test_moments_are_full_covariances():
    """None where there are none in closed form; categories have probabilities instead."""
    mean, cov = moments(GaussianRoot(MEAN, ROOT))
    assert_close(cov, ROOT @ ROOT.mT)
    assert torch.equal(mean, MEAN)
    law = TransformedDistribution(
        Independent(Normal(torch.zeros(2), 1.0), 1),
        [CumulativeDistributionTransform(Normal(0.0, 1.0))],
        validate_args=False,
    )
    assert moments(law) is None
    tokens = Independent(Categorical(torch.full((4, 1, 3), 1 / 3)), 1)
    assert moments(tokens) is None
    assert category_probs(tokens).shape == (4, 1, 3)
    assert category_probs(law) is None


def test_a_chain_is_two_factors():
    """Draws have the shapes asked for, and the density is the product."""
    centres = torch.tensor([[-5.0], [5.0]], dtype=F64)

    def then(k):
        return Independent(Normal(centres[k], 1.0), 1)

    first = Categorical(logits=torch.tensor([0.0, 1.0], dtype=F64))
    law = Chain(first, then, Switching)
    torch.manual_seed(0)
    for shape in ((), (4,), (4, 3)):
        z = law.expand(shape).sample()
        assert z.k.shape == shape
        assert z.x.shape == (*shape, 1)
        assert_close(law.log_prob(z), first.log_prob(z.k) + then(z.k).log_prob(z.x))
    assert law.sample((6,)).x.shape == (6, 1)
    flat = Chain(first, lambda k: Independent(Normal(torch.zeros(1, dtype=F64), 1.0), 1), Switching)
    assert flat.expand((4, 3)).sample().x.shape == (4, 3, 1)
    assert len(set(flat.expand((50,)).sample().x.flatten().tolist())) == 50  # one draw each
    assert not law.has_rsample


# ------------------------------------------------------------------ divergences


def test_divergence_of_independent_entries_from_a_root():
    """Against torch's own, of two dense Gaussians; a wide root, and axes on either side."""
    mean, scale = randn(5, 3, 4, seed=1), randn(5, 3, 4, seed=2).exp()
    centre, root = randn(3, 4, seed=3), randn(4, 6, seed=4)
    q = Independent(Normal(mean, scale), 1)
    dense = MultivariateNormal(mean, covariance_matrix=torch.diag_embed(scale**2))
    wanted = kl_divergence(dense, MultivariateNormal(centre, covariance_matrix=root @ root.mT))
    assert_close(kl_divergence(q, GaussianRoot(centre, root)), wanted)
    tall = GaussianRoot(centre, randn(3, 4, 4, seed=5))
    dense_tall = MultivariateNormal(centre, covariance_matrix=tall.root @ tall.root.mT)
    assert_close(kl_divergence(q, tall), kl_divergence(dense, dense_tall))


def test_divergences_without_a_closed_form_say_so():
    """A singular law has no density to compare with; a Student's t no closed form."""
    flat = GaussianRoot(torch.zeros(2, dtype=F64), torch.ones(2, 1, dtype=F64))
    normal = Independent(Normal(torch.zeros(2, dtype=F64), 1.0), 1)
    with pytest.raises(NotImplementedError):
        kl_divergence(normal, flat)
    wild = Independent(StudentT(3.0, torch.zeros(2, dtype=F64)), 1)
    with pytest.raises(NotImplementedError):
        kl_divergence(wild, GaussianRoot(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64)))
