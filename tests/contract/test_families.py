"""Families: a linear-Gaussian model in other words, and a switching one given its switches."""

import pytest
import torch
from contract.stand_ins import Lines
from contract.tiny import (
    F64,
    MODELS,
    Plain,
    ragged_case,
)
from torch.testing import assert_close

from statespace.beliefs import real_part
from statespace.errors import InputError, MethodError
from statespace.gaussian import AffineConditional, Gaussian
from statespace.inference import Kalman, ParticleFilter
from statespace.interface import (
    Given,
)


@pytest.fixture
def case():
    model = Plain()
    y, u, _ = ragged_case(model)
    return model, y, u


@pytest.mark.parametrize("varying", [False, True])
def test_linear_gaussian_derives_its_densities(case, varying):
    """The joint and the particle filter are those of the same model in other words."""
    plain, y, u = case
    lines = Lines(plain, varying)
    z = plain.sample(5, sample_shape=(4,), inputs=u, seed=1).z
    with torch.no_grad():
        assert_close(lines.log_joint(z, y, u), plain.log_joint(z, y, u))
        a = lines.log_likelihood(y, u, method=Kalman())
    b = lines.score(y, u, method=ParticleFilter(3000), seed=0)
    assert abs(b.value - float(a.sum())) < 6 * b.stderr + 0.02


def test_a_batch_of_models(case):
    """Parameters with leading axes: each model on the same series, in the joint too."""
    plain, y, u = case

    class Several(Lines):
        @property
        def batch_shape(self):
            return torch.Size([3])

        def dynamics(self, ctx):
            scale = torch.tensor([0.5, 1.0, 1.5], dtype=F64)[:, None, None]
            found = super().dynamics(ctx)
            return AffineConditional(scale * found.weight, found.bias, found.noise, found.varies)

    several = Several(plain)
    z = plain.sample(5, inputs=u, seed=1).z
    with torch.no_grad():
        got = several.log_joint(z, y, u)
        one = several.log_joint(z[:1].expand(3, 5, 2), y[0], u[0])
    assert_close(got[1], plain.log_joint(z, y, u).detach()[1])
    assert one.shape == (3,)
    assert len(set(one.tolist())) == 3
    assert several.filter(y[0], u[0], seed=0).mean.shape == (3, 5, 2)
    assert several.sample(5, inputs=u[0], seed=0).y.shape == (3, 5, 2)
    with pytest.raises(InputError, match="broadcast with the model's"):
        several.filter(torch.zeros(2, 5, 2), u[:2])


def test_a_diffuse_start_has_no_density(case):
    """And the sentence names the method that integrates it out."""
    plain, _, u = case

    class Diffuse(Lines):
        def prior(self, ctx):
            found = super().prior(ctx)
            return Gaussian(found.mean, found.covariance, torch.tensor([True, False]))

    with pytest.raises(MethodError, match=r"diffuse initial state.*Kalman"):
        Diffuse(plain).sample(3, inputs=u[:, :3])


@pytest.mark.parametrize("name", ["switch"])
def test_given_its_switches_a_switching_model_is_one_of_x(name):
    """log p(x, y given k) = log p(z, y) - log p(k), over all of time and for many paths at once."""
    model = MODELS[name]()
    y, u, _ = ragged_case(model)
    z = model.sample(5, sample_shape=(4,), inputs=u, seed=1).z
    given = Given(model, z.k)
    with torch.no_grad():
        log_k = model.W[0].log_softmax(-1)[z.k[..., 0]]
        for t in range(1, 5):
            rows = (model.W[z.k[..., t - 1]] + u[:, t] @ model.U.mT).log_softmax(-1)
            log_k = log_k + rows.gather(-1, z.k[..., t, None])[..., 0]
        assert_close(given.log_joint(z.x, y, u) + log_k, model.log_joint(z, y, u))
    one = Given(model, z.k[0])
    assert one.filter(y, u, seed=0).mean.shape == (3, 5, 1)
    assert real_part(one.latent, one.sample(5, inputs=u, seed=0).z).shape == (3, 5, 1)


def test_float32_works(case):
    """No dtype leaks: a model of single precision answers in it."""
    model = Plain().float()
    _, y, u = case
    f = model.filter(y, u, seed=0)
    assert f.mean.dtype == f.log_likelihood.dtype == f.y_cov.dtype == torch.float32
    assert model.smooth(y, u, seed=0).mean.dtype == torch.float32
    assert model.sample(3, inputs=u[:, :3], seed=0).y.dtype == torch.float32
    fc = model.forecast(y, horizon=1, inputs=torch.cat([u, u[:, :1]], 1), seed=0)
    assert fc.mean.dtype == fc.samples.dtype == torch.float32
