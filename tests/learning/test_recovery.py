"""Sample from a known system, fit it from data alone, and find it again.

Would catch: a maximum of something else than the likelihood, inputs that act one row late, gaps
read as zeros, standard errors in the wrong units.
"""

from __future__ import annotations

import math

import pytest
import torch

import statespace as ss


def true_system() -> ss.LDS:
    """Two modes, inputs into both equations, offsets; C says what the states are."""
    return ss.LDS(
        2, 3, 2,
        A=[[0.9, 0.2], [-0.3, 0.7]], B=[[1.0, 0.0], [0.5, -0.5]], b=[0.3, -0.2],
        C=[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], D=[[0.0, 1.0], [0.5, 0.0], [0.0, 0.0]],
        d=[0.0, 0.0, 2.0], Q=[[0.5, 0.1], [0.1, 0.3]], R=torch.diag(torch.tensor([0.2, 0.4, 0.3])),
        initial="stationary",
    )  # fmt: skip


def test_every_parameter_lies_within_its_standard_errors() -> None:
    """Eight series of unequal length, a tenth of the entries missing, inputs and biases.

    With C held all 21 parameters are identified, and none is given. |estimate - truth| is held to
    4.5 standard errors: a false alarm has a chance of 21 x 7e-6 = 0.015 %, and none at this seed.
    The root mean square of these distances is 1 in expectation; from 0.55 to 1.55 it leaves out
    less than one in a thousand.
    """
    true, g = true_system(), torch.Generator().manual_seed(0)
    lengths = [80, 120, 60, 120, 100, 90, 120, 110]
    u = torch.randn(8, 120, 2, generator=g, dtype=torch.float64)
    y = true.sample(120, (), u, seed=1).y
    y = torch.where(torch.rand(y.shape, generator=g) < 0.1, torch.nan, y)
    lds = ss.LDS(
        2, 3, 2, C=ss.Fixed(true.C.detach()), b=ss.Param(), d=ss.Fixed(true.d.detach()),
        R=ss.Param(structure="diag"), initial="stationary",
    )  # fmt: skip
    fit = lds.fit(y, u, lengths=torch.tensor(lengths), seed=2)
    assert fit.converged, fit.reason
    with torch.no_grad():
        value = float(true.log_likelihood(y, u, lengths=torch.tensor(lengths)).sum())
    # twice the gain is chi-square with 21 degrees of freedom: 56 has a chance of 5e-5
    assert 0.0 < 2 * (fit.log_likelihood - value) < 56.0
    assert fit.num_params == 4 + 4 + 2 + 6 + 3 + 3 == len(fit.parameters)
    distances = []
    for name, estimate in fit.parameters.items():
        letter, index = name.split("[")
        place = tuple(int(i) for i in index.rstrip("]").split(","))
        error = fit.standard_errors[name]
        assert math.isfinite(error), fit.standard_errors.reasons.get(name)
        distances.append((estimate - float(getattr(true, letter)[place].detach())) / error)
    assert max(abs(v) for v in distances) < 4.5
    assert 0.55 < math.sqrt(sum(v * v for v in distances) / len(distances)) < 1.55


def test_a_free_fit_is_the_true_system_in_other_coordinates() -> None:
    """With nothing held the states come in coordinates of their own: aligned, A, C and the effects
    of noise agree, and so do one-step forecasts on new data, to within what 4000 rows tell."""
    true = ss.LDS(
        2, 3, A=[[0.9, 0.2], [-0.3, 0.7]], C=[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]],
        Q=0.5 * torch.eye(2), R=0.3 * torch.eye(3), d=[1.0, 2.0, 3.0], initial="stationary",
    )  # fmt: skip
    lds = ss.LDS(2, 3, initial="stationary")
    fit = lds.fit(true.sample(400, (10,), seed=3).y, seed=0)
    assert fit.converged, fit.reason
    there, here = (torch.linalg.eigvals(m.A.detach()) for m in (true, lds))
    order = [v[v.imag.argsort()] for v in (there, here)]
    assert float((order[0] - order[1]).abs().max()) < 0.03
    new = true.sample(400, (5,), seed=4).y
    a, b = true.filter(new), lds.filter(new)
    noise = a.y_cov[:, -1].diagonal(dim1=-2, dim2=-1).mean()
    assert float((a.y_mean - b.y_mean).square().mean()) < 0.01 * float(noise)
    loss = float((a.log_likelihood - b.log_likelihood).mean())
    assert -1.0 < loss < 5.0, "held out, the fit is worse by what its 18 parameters cost"


@pytest.mark.parametrize("seed", [0, 1])
def test_restarts_find_what_one_start_misses(seed: int) -> None:
    """Starts differ, the best of them is kept, and the model is left there."""
    y = torch.log10(ss.datasets.lynx())
    bad = {"A": [[-0.9]], "C": [[1.0]], "Q": [[1e-4]], "R": [[1.0]], "d": [0.0]}
    one = ss.LDS(1, 1, **bad, initial="stationary").fit(y, learner=ss.EM(), seed=seed)
    lds = ss.LDS(1, 1, **bad, initial="stationary")
    fit = lds.fit(y, learner=ss.EM(restarts=4), seed=seed)
    ends = [fit.history[-1], *(h[-1] for h in fit.restarts)]
    starts = [fit.history[0], *(h[0] for h in fit.restarts)]
    assert len(ends) == 5
    assert len({round(v, 6) for v in starts}) == 5, "every start is one of its own"
    assert fit.log_likelihood == pytest.approx(max(ends), abs=1e-9)
    assert fit.log_likelihood >= one.log_likelihood - 1e-9
    now = float(lds.log_likelihood(y).sum().detach())
    assert now == pytest.approx(fit.log_likelihood, abs=1e-9)
