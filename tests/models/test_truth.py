"""Approximate filters against brute force, on the problems of `examples/approximations.py`."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

import statespace as ss

_PLACE = Path(__file__).parents[2] / "examples" / "approximations.py"
_spec = importlib.util.spec_from_file_location("approximations", _PLACE)
example = importlib.util.module_from_spec(_spec)
sys.modules["approximations"] = example
_spec.loader.exec_module(example)

PROBLEMS = {p.name: p for p in example.PROBLEMS}
STEPS = 15


@pytest.fixture(scope="module", params=PROBLEMS)
def solved(request):
    """A problem, data of it, and the truth."""
    problem = PROBLEMS[request.param]
    y = problem.model.sample(STEPS, seed=3).y
    return problem, y, example.by_quadrature(problem, y, 1200)


def test_the_grid_is_fine_enough(solved):
    """Two thirds of the points change nothing: the truth is one."""
    problem, y, truth = solved
    coarse = example.by_quadrature(problem, y, 800)
    assert abs(truth.log_likelihood - coarse.log_likelihood) < 1e-6
    torch.testing.assert_close(truth.mean, coarse.mean, rtol=1e-6, atol=1e-6)


def test_quadrature_of_a_linear_model_is_the_kalman_filter():
    """The brute force is checked where there is an exact answer."""
    lds = ss.LDS(1, 1, A=[[0.9]], C=[[1.0]], d=[0.5], Q=[[0.3]], R=[[0.2]],
                 initial_mean=[0.0], initial_cov=[[1.0]])  # fmt: skip
    y = lds.sample(STEPS, seed=0).y
    truth = example.by_quadrature(example.Problem("linear", lds, -8.0, 8.0), y, 1200)
    f = lds.filter(y)
    assert abs(truth.log_likelihood - float(f.log_likelihood)) < 1e-9
    torch.testing.assert_close(truth.mean, f.mean[:, 0], rtol=0, atol=1e-9)


def test_particles_are_right_within_their_error(solved):
    """Sixty runs average to exp(log p(y)) within four standard errors (false alarms 6e-5)."""
    problem, y, truth = solved
    many = y.expand(60, *y.shape)
    values = problem.model.log_likelihood(many, method=ss.ParticleFilter(400), seed=0).detach()
    ratio = (values - truth.log_likelihood).exp()
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(ratio) ** 0.5
    mean = problem.model.filter(y, method=ss.ParticleFilter(20_000), seed=0).mean[:, 0]
    assert ((mean - truth.mean) / truth.stddev).abs().max() < 0.1


@pytest.mark.parametrize(
    ("name", "method", "bound"),
    [
        ("stochastic volatility", ss.Laplace(50), 0.1),
        ("Poisson counts", ss.Laplace(50), 0.1),
        ("Poisson counts", ss.PosteriorLinearisation(ss.GaussHermiteKalman(9), 10), 3.0),
    ],
)
def test_good_approximations_are_near(name, method, bound):
    """What the docs call nearly right is off by less than this many nats on fifteen rows."""
    problem = PROBLEMS[name]
    y = problem.model.sample(STEPS, seed=3).y
    truth = example.by_quadrature(problem, y, 1200)
    assert abs(problem.model.score(y, method=method).value - truth.log_likelihood) < bound


def test_the_mean_of_volatility_says_nothing():
    """Filters that look at E[y] leave the filtered mean at the prior's, to the last digit."""
    problem = PROBLEMS["stochastic volatility"]
    y = problem.model.sample(STEPS, seed=3).y
    for method in (ss.ExtendedKalman(), ss.UnscentedKalman(), ss.CubatureKalman()):
        mean = problem.model.filter(y, method=method).mean
        torch.testing.assert_close(mean, torch.full_like(mean, -1.0), rtol=0, atol=1e-12)
