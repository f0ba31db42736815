"""A linearising method proposes for particles: p(z_t | z_{t-1}, y_t) of each, made linear there.

Would catch: an emission linearised at the particle before, one gain for all particles, a missing
entry that pulls.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nonlinear_cases import ALL, CASES, suits

import statespace as ss
from statespace.interface import Context, Row


@pytest.mark.parametrize("kind", ALL)
def test_of_a_linear_emission_it_is_exact(kind: str) -> None:
    """Each particle's posterior by Bayes, in numpy; some entries missing."""
    case = next(c for c in CASES if "linear" in c.tags)
    model = case.model()
    g = torch.Generator().manual_seed(0)
    z = torch.randn(5, 2, 3, generator=g, dtype=torch.float64)
    u = torch.as_tensor(case.u)[:, 1]
    y = torch.as_tensor(case.y)[:, 1]
    seen = torch.tensor([[True, True], [False, True]])
    row = Row(y.nan_to_num(), seen, torch.ones(2, dtype=torch.bool), u)
    ctx = Context(torch.tensor(1), u, u[..., :0])
    prior = model.transition(z, ctx)
    q = ALL[kind].propose(model, z, ctx, row, prior)
    assert q.mean.shape == (5, 2, 3)
    Q, R, C = (x.detach().numpy() for x in (model.SQ.tril(), model.SR.tril(), model.C))
    Q, R = Q @ Q.T, R @ R.T
    for k in range(5):
        for i in range(2):
            on = seen[i].numpy()
            m = prior.mean[k, i].detach().numpy()
            gain = Q @ C[on].T @ np.linalg.inv(C[on] @ Q @ C[on].T + R[np.ix_(on, on)])
            mean = m + gain @ (row.y[i].numpy() - C @ m)[on]
            assert np.allclose(q.mean[k, i], mean, atol=1e-9)
            assert np.allclose(q.covariance_matrix[k, i], Q - gain @ C[on] @ Q, atol=1e-9)


@pytest.mark.parametrize("case", [c for c in CASES if "singular" not in c.tags],
                         ids=lambda c: c.name)  # fmt: skip
@pytest.mark.parametrize("kind", ["extended", "cubature", "laplace"])
def test_particles_are_looped(case: object, kind: str) -> None:
    """All particles at once are one after the other."""
    assert suits(case, kind)
    model, data = case.model(), case.data()
    n = model.latent.size
    lead = (4, *case.y.shape[:-2])
    z = torch.randn(*lead, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = data["y"][..., 1, :]
    u = data["inputs"][..., 1, :] if "inputs" in data else y[..., :0]
    row = Row(y.nan_to_num(), ~y.isnan(), torch.ones(y.shape[:-1], dtype=torch.bool), u)
    ctx = Context(torch.tensor(1), u, u[..., :0])
    q = ALL[kind].propose(model, z, ctx, row, model.transition(z, ctx))
    for k in range(4):
        prior = model.transition(z[k], ctx)
        one = ALL[kind].propose(model, z[k], ctx, row, prior)
        assert torch.allclose(q.mean[k], one.mean, atol=1e-9)
        assert torch.allclose(q.covariance_matrix[k], one.covariance_matrix, atol=1e-9)


def test_guided_particles_have_the_same_likelihood() -> None:
    """On the linear case the mean of 20 estimates is within 6 standard errors of the exact value.

    False alarms: Student t with 19 degrees of freedom beyond 6, twice: 2e-5.
    """
    case = next(c for c in CASES if "linear" in c.tags)
    model, data = case.model(), case.data()
    exact = model.log_likelihood(**data, method=ss.ExtendedKalman()).detach()
    runs = torch.stack([
        model.log_likelihood(**data, method=ss.ParticleFilter(500, ss.ExtendedKalman()), seed=i)
        for i in range(20)
    ]).detach()  # fmt: skip
    ratio = (runs - exact).exp()
    stderr = ratio.std(0) / 20**0.5
    assert bool(((ratio.mean(0) - 1).abs() < 6 * stderr).all())
