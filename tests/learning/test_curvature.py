"""The way to a maximum where few numbers are learned.

Would catch: a saddle at a variance of zero taken for a maximum, units that are not Newton's, and
steps in the variances that are not EM's.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import statespace as ss
from statespace.interface.question import Question, read
from statespace.learning.curvature import newton_units, off_saddle, variances_first
from statespace.learning.objective import Objective
from statespace.learning.polish import polish


def objective_of(model: Any, y: Any) -> Objective:
    return Objective(model, ss.Kalman(), read(model, y, None, Question()), torch.Generator())


def level(q: float, r: float) -> ss.LDS:
    return ss.LDS.local_level().replace(Q=ss.Param([[q]]), R=ss.Param([[r]]))


def test_a_saddle_is_left() -> None:
    """With no variance of the level the slope in its root is zero, and the Nile has a maximum
    elsewhere: -633.4646, Durbin and Koopman (2012, 2.10)."""
    model = level(0.0, 15000.0)
    found = polish(objective_of(model, ss.datasets.nile()))
    assert found.converged
    assert found.value == pytest.approx(-633.46456, abs=1e-4)
    assert float(model.Q.detach()) == pytest.approx(1469.1, rel=1e-2)


def test_a_maximum_at_zero_is_kept() -> None:
    """Differences of white noise turn back at every step: no level walks in them."""
    noise = torch.randn(401, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = noise[1:] - 0.5 * noise[:-1]
    model = level(0.3, 1.0)
    found = polish(objective_of(model, y))
    assert found.converged
    assert float(model.Q.detach()) < 1e-4


def test_newton_units_turn_the_hessian_into_one() -> None:
    """At the maximum: U'(-H)U = I, with H by differences of its own."""
    model = level(1469.1, 15099.0)
    objective = objective_of(model, ss.datasets.nile())
    polish(objective)
    x = objective.read()
    units, up = newton_units(objective, x, 0.1 * objective.sizes())
    assert not up.any()
    columns = []
    for i in range(2):
        h = torch.zeros(2, dtype=torch.float64)
        h[i] = 1e-4 * x[i]
        ahead, behind = objective.gradient(x + h)[1], objective.gradient(x - h)[1]
        assert ahead is not None
        assert behind is not None
        columns.append((ahead - behind) / (2 * h[i]))
    hessian = torch.stack(columns)
    torch.testing.assert_close(
        units.mT @ -hessian @ units, torch.eye(2, dtype=torch.float64), rtol=1e-2, atol=1e-2
    )
    assert torch.equal(off_saddle(objective, x, up), x)


def test_steps_in_the_variances_are_those_of_em() -> None:
    """One M-step from the same point, Q over T - 1 transitions as over T rows; and they rise."""
    y = ss.datasets.nile()
    by_em = level(20000.0, 3000.0)
    by_em.fit(y, learner=ss.EM(max_iter=1, tol=0.0, polish=False))
    model = level(20000.0, 3000.0)
    objective = objective_of(model, y)
    x = objective.read()
    gradient = objective.gradient(x)[1]
    assert gradient is not None
    step = x.square() * (1 + x * gradient / torch.tensor([99.0, 100.0]))
    torch.testing.assert_close(step[0], by_em.Q.detach()[0, 0], rtol=1e-9, atol=0.0)
    torch.testing.assert_close(step[1], by_em.R.detach()[0, 0], rtol=1e-9, atol=0.0)
    far = objective.value(x * torch.tensor([30.0, 0.01]))
    better = variances_first(objective, x * torch.tensor([30.0, 0.01]))
    assert objective.value(better) > far + 10
