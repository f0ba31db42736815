"""The most probable path, Laplace's approximation about it, and posteriors that are linearised.

Would catch: a step that falls, a curvature of another sign, a determinant left out, pseudo-
observations of another gradient, covariances of the filter in the place of the smoother's.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from nonlinear_cases import CASES, WHOLE, Case, suits

import statespace as ss
from statespace.interface import Context

SERVED = [c for c in CASES if not c.tags & {"singular", "noise", "angle"}]
ONE = [c for c in SERVED if c.y.ndim == 2]
AFFINE = [c for c in SERVED if c.name in ("counts", "coins")]  # transitions are linear


def slope_at(model: Any, data: dict[str, Any], z: torch.Tensor) -> torch.Tensor:
    told = {k: v for k, v in data.items() if k in ("inputs", "lengths")}
    z = z.nan_to_num().requires_grad_()
    (slope,) = torch.autograd.grad(model.log_joint(z, data["y"], **told).sum(), z)
    return slope


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("case", SERVED, ids=lambda c: c.name)
def test_the_smoothed_mean_is_the_mode(case: Case, kind: str) -> None:
    """The log joint has no slope there, inside each series."""
    if not suits(case, kind):
        pytest.skip("tangents need a Gaussian y")
    model, data = case.model(), case.data()
    s = model.smooth(**data, method=WHOLE[kind])
    found = slope_at(model, data, s.mean)
    assert float(found[~s.mean.isnan()].abs().max()) < 1e-5


@pytest.mark.parametrize("case", AFFINE, ids=lambda c: c.name)
def test_laplace_is_that_of_the_dense_joint(case: Case) -> None:
    """Mode by Newton on all of z at once, the determinant of the whole Hessian, its inverse."""
    model = case.model()
    records = list(model.smooth(**case.data(), method=ss.Laplace()))
    values = model.log_likelihood(**case.data(), method=ss.Laplace()).detach().reshape(-1)
    for (y, _), s, value in zip(case.series(), records, values, strict=True):
        steps, n = len(y), model.latent.size
        told = torch.as_tensor(y)

        def joint(flat: torch.Tensor, told=told, steps=steps, n=n) -> torch.Tensor:
            return model.log_joint(flat.reshape(steps, n), told)

        z = torch.zeros(steps * n, dtype=torch.float64)
        for _ in range(50):
            h = torch.autograd.functional.hessian(joint, z)
            g = torch.autograd.functional.jacobian(joint, z)
            step = torch.linalg.solve(-h, g).detach()
            z = z + step * min(1.0, 1.0 / float(step.abs().max()))
        precision = -torch.autograd.functional.hessian(joint, z).detach()
        expected = joint(z) + 0.5 * (steps * n * math.log(2 * math.pi) - torch.logdet(precision))
        assert float(value) == pytest.approx(float(expected.detach()), abs=1e-9)
        assert torch.allclose(s.mean.reshape(-1), z, atol=1e-7)
        blocks = torch.linalg.inv(precision).reshape(steps, n, steps, n)
        for t in range(steps):
            assert torch.allclose(s.cov[t], blocks[t, :, t], atol=1e-7)
            if t:
                assert torch.allclose(s.cross_cov[t - 1], blocks[t, :, t - 1], atol=1e-7)


@pytest.mark.parametrize("case", ONE, ids=lambda c: c.name)
def test_a_step_never_falls(case: Case) -> None:
    """With more iterations the log joint of the path is no lower; from a start far away, too."""
    model, data = case.model(), case.data()
    told = {k: v for k, v in data.items() if k == "inputs"}
    data["y"] = data["y"] * (1 if "counts" in case.tags else 5)
    make = ss.Laplace if "counts" in case.tags else lambda i: ss.ExtendedKalman(i, "path")
    heights = []
    for i in (1, 2, 3, 5, 10, 40):
        z = model.smooth(**data, method=make(i)).mean
        heights.append(float(model.log_joint(z, data["y"], **told).detach()))
    gains = torch.tensor(heights).diff()
    assert bool((gains >= -1e-9).all()), heights


def test_laplace_serves_what_has_no_moments() -> None:
    """Categories: a mode, covariances, draws; no moments of y, and forecasts are drawn."""

    class Words(type(CASES[0].model())):
        categorical = True

        def emission(self, z: torch.Tensor, ctx: Context) -> Any:
            logits = torch.stack([z @ self.C.mT, 0 * (z @ self.C.mT)], -1)
            law = torch.distributions.Categorical(logits=logits, validate_args=False)
            return torch.distributions.Independent(law, 1, validate_args=False)

    model = CASES[0].model()
    model.__class__ = Words
    y = model.sample(6, seed=0).y
    with pytest.raises(ss.errors.MethodError, match=r"Categorical.*Laplace, ParticleFilter"):
        model.filter(y, method=ss.ExtendedKalman())
    f, s = (verb(y, method=ss.Laplace()) for verb in (model.filter, model.smooth))
    assert f.y_mean is None
    assert s.y_mean is None
    assert float(slope_at(model, {"y": y}, s.mean).abs().max()) < 1e-5
    fc = model.forecast(y, horizon=2, method=ss.Laplace(), seed=0)
    assert fc.probs.shape == (2, 2, 2)


def test_laplace_is_near_the_particles() -> None:
    """Beside a particle filter of 20000: within 0.3 nats, and nearer than one tangent."""
    case = next(c for c in CASES if c.name == "coins")
    model, data = case.model(), case.data()
    truth = model.score(**data, method=ss.ParticleFilter(20_000), seed=0).value
    laplace = model.score(**data, method=ss.Laplace()).value
    extended = model.score(**data, method=ss.ExtendedKalman()).value
    assert abs(laplace - truth) < 0.3
    assert abs(laplace - truth) < abs(extended - truth)


def test_a_posterior_that_is_linearised_is_a_fixed_point() -> None:
    """More iterations do not move it; with tangents it is the most probable path."""
    case = next(c for c in CASES if c.name == "pendulum")
    model, data = case.model(), case.data()
    many = model.smooth(**data, method=ss.PosteriorLinearisation(ss.CubatureKalman(), 20))
    more = model.smooth(**data, method=ss.PosteriorLinearisation(ss.CubatureKalman(), 21))
    assert torch.allclose(many.mean, more.mean, atol=1e-9)
    tangents = model.smooth(**data, method=ss.PosteriorLinearisation(ss.ExtendedKalman(), 40))
    path = model.smooth(**data, method=ss.ExtendedKalman(40, "path"))
    assert torch.allclose(tangents.mean, path.mean, atol=1e-5)


def test_imputation_under_laplace() -> None:
    """What was observed is shown as it came; a missing entry has the emission's moments."""
    case = next(c for c in CASES if c.name == "counts")
    model, data = case.model(), case.data()
    s = model.smooth(**data, method=ss.Laplace())
    seen = ~data["y"].isnan()
    assert torch.equal(s.y_mean[seen], data["y"][seen])
    rate = (s.mean @ model.C.mT).exp().detach()
    assert torch.allclose(s.y_mean[~seen], rate[~seen], atol=1e-9)
    h = rate[..., None] * model.C.detach()
    cov = h @ s.cov @ h.mT + torch.diag_embed(rate)
    assert torch.allclose(
        s.y_cov.diagonal(dim1=-2, dim2=-1)[~seen],
        cov.diagonal(dim1=-2, dim2=-1)[~seen], atol=1e-9,
    )  # fmt: skip


def test_a_network_is_fitted_over_paths_from_nothing() -> None:
    """What is left out has no values yet when the method is first asked whether it serves."""
    y = ss.NoisyRNN(1, 1, seed=0).sample(15, seed=1).y
    fit = ss.NoisyRNN(1, 1).fit(
        y, method=ss.ExtendedKalman(scope="path"), learner=ss.Gradient(2), seed=0
    )
    assert fit.log_likelihood > -100


@pytest.mark.parametrize("method", [ss.ExtendedKalman(1, "path"), ss.ExtendedKalman(scope="path")])
def test_the_value_does_not_depend_on_whether_a_gradient_is_wanted(method: Any) -> None:
    """After one step and, by default, where the path stands still; and it is the score's."""
    model = ss.NoisyRNN(2, 1, seed=0)
    y = model.sample(10, seed=1).y
    wanted = model.log_likelihood(y, method=method)
    with torch.no_grad():
        plain = model.log_likelihood(y, method=method)
    assert wanted.requires_grad
    torch.testing.assert_close(wanted.detach(), plain, rtol=1e-9, atol=1e-9)
    assert model.score(y, method=method).value == pytest.approx(float(plain), rel=1e-9)
    assert ss.ExtendedKalman(scope="path").iterations == 50
