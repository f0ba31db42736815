"""The local level of the Nile, whose numbers stand in the literature.

Durbin and Koopman (2012), chapter 2: R = 15099, Q = 1469.1, exact diffuse start.
"""

from __future__ import annotations

import pytest
import torch

import statespace as ss


def level(**changes: object) -> ss.LDS:
    return ss.LDS.local_level().replace(Q=[[1469.1]], R=[[15099.0]], **changes)


@pytest.mark.parametrize(
    ("counted", "value"), [(True, -633.4645636), (False, -632.5456251)], ids=["with", "without"]
)
def test_the_diffuse_constant_is_counted_or_not(counted: bool, value: float) -> None:
    """-633.4645636 with log 2 pi / 2 of the diffuse direction, -632.5456251 without; every verb."""
    y, lds = ss.datasets.nile(), level(diffuse_constant=counted)
    f = lds.filter(y)
    state, total = lds.start(), torch.zeros((), dtype=torch.float64)
    for row in y:
        state, info = lds.step(state, row)
        total = total + info.increment
    for found in (
        lds.log_likelihood(y).detach(), f.log_likelihood, f.increments.sum(),
        lds.smooth(y).log_likelihood, lds.score(y).value, total,
        lds.filter(y[:1]).log_likelihood
        + lds.log_likelihood(y[1:], state=lds.filter(y[:1]).state).detach(),
    ):  # fmt: skip
        assert float(found) == pytest.approx(value, abs=1e-6)


def test_the_first_rows_are_those_of_the_book() -> None:
    """After y_1 the level is y_1 with variance R; its prediction has variance R + Q."""
    f = level().filter(ss.datasets.nile())
    assert float(f.mean[0]) == pytest.approx(1120.0)
    assert float(f.cov[0]) == pytest.approx(15099.0)
    assert float(f.predicted_cov[1]) == pytest.approx(16568.1)
    # the steady state: P = (Q + sqrt(Q^2 + 4 Q R)) / 2, predicted
    q, r = 1469.1, 15099.0
    assert float(f.predicted_cov[-1]) == pytest.approx((q + (q * q + 4 * q * r) ** 0.5) / 2)
