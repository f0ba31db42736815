"""Start values from data: near the truth, in the units of the data, respecting what is given."""

from __future__ import annotations

import math

import pytest
import torch

import statespace as ss
from statespace.models.lds.subspace import start_values
from statespace.sequences import read_sequences


def started(lds: ss.LDS, y, u=None) -> ss.LDS:
    data = read_sequences(
        y, u, obs_dim=lds.obs_dim, input_dim=lds.input_dim, dtype=lds.dtype, device="cpu"
    )
    start_values(lds, data, torch.Generator().manual_seed(0))
    return lds


def truth(**kwargs) -> ss.LDS:
    return ss.LDS(
        2, 3, A=[[0.85, 0.3], [-0.3, 0.85]], C=[[1.0, 0.0], [0.5, 1.0], [0.0, -1.0]],
        Q=0.5 * torch.eye(2), R=0.3 * torch.eye(3), d=[5.0, 0.0, -20.0], initial="stationary",
        **kwargs,
    )  # fmt: skip


def modes(a: torch.Tensor) -> torch.Tensor:
    found = torch.linalg.eigvals(a.detach())
    return torch.stack([found.real, found.imag.abs()], -1)


def test_the_modes_of_a_long_series_are_found():
    """The eigenvalues of A within 0.1 from 1000 rows, without any iteration."""
    y = truth().sample(1000, seed=0).y
    lds = started(ss.LDS(2, 3), y)
    torch.testing.assert_close(modes(lds.A), modes(truth().A), atol=0.1, rtol=0)
    torch.testing.assert_close(lds.d.detach(), y.mean(0))


def test_many_short_series_and_gaps():
    """Fifty series of 30 rows with a tenth of their entries missing serve as well."""
    y = truth().sample(30, (50,), seed=0).y
    gone = torch.rand(y.shape, generator=torch.Generator().manual_seed(0)) < 0.1
    lds = started(ss.LDS(2, 3), torch.where(gone, torch.nan, y))
    torch.testing.assert_close(modes(lds.A), modes(truth().A), atol=0.1, rtol=0)


def test_some_of_many_series_are_enough_for_a_start():
    """The start of sixty long series is that of twenty of them, unless these leave out a column."""
    y = truth().sample(1000, (60,), seed=2).y
    lds, few = started(ss.LDS(2, 3), y), started(ss.LDS(2, 3), y[::3])
    torch.testing.assert_close(lds.A, few.A)
    torch.testing.assert_close(modes(lds.A), modes(truth().A), atol=0.1, rtol=0)
    y[::3, :, 2] = torch.nan
    lds = started(ss.LDS(2, 3), y)
    assert float(lds.d[2].detach()) == pytest.approx(-20.0, abs=0.5)


def test_inputs_do_not_pass_for_dynamics():
    """With strong inputs A's modes and the direct effect D are still found."""
    true = ss.LDS(
        1, 2, 1, A=[[0.8]], B=[[2.0]], C=[[1.0], [-1.0]], D=[[0.0], [5.0]], d=[1.0, 2.0],
        Q=[[0.2]], R=0.1 * torch.eye(2), initial="stationary",
    )  # fmt: skip
    u = torch.randn(800, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = true.sample(800, inputs=u, seed=0).y
    lds = started(ss.LDS(1, 2, 1), y, u)
    assert float(lds.A.detach()) == pytest.approx(0.8, abs=0.05)
    gain = lds.C @ lds.B + lds.D  # what an input does at once
    torch.testing.assert_close(gain.detach(), (true.C @ true.B + true.D).detach(), atol=0.2, rtol=0)
    later = lds.C @ lds.A @ lds.B
    torch.testing.assert_close(
        later.detach(), (true.C @ true.A @ true.B).detach(), atol=0.2, rtol=0
    )


@pytest.mark.parametrize("exponent", [-27, -13, 13, 27])
def test_units_pass_through_exactly(exponent: int):
    """Powers of two times the data: A and Q bit for bit, C and d times c, R times its square."""
    y = truth().sample(80, seed=1).y
    c = 2.0**exponent
    plain, scaled = started(ss.LDS(2, 3), y), started(ss.LDS(2, 3), c * y)
    for name, factor in (("A", 1), ("Q", 1), ("C", c), ("d", c), ("R", c * c)):
        one, two = (m.slot(name).value().detach() for m in (plain, scaled))
        torch.testing.assert_close(two, factor * one, rtol=1e-9, atol=0)


def test_what_is_given_stays():
    """Slots with values are left alone; held and tied entries are kept in those without."""
    y = truth().sample(200, seed=1).y
    c = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]], dtype=torch.float64)
    lds = started(
        ss.LDS(
            2, 3, C=c, A=ss.Param(free=[[True, False], [True, True]]),
            R=ss.Param(structure="scalar"),
        ),
        y,
    )  # fmt: skip
    assert torch.equal(lds.C.detach(), c)
    assert lds.A[0, 1] == 0.0
    assert lds.R[0, 0] == lds.R[1, 1] > 0
    assert lds.R[0, 1] == 0.0


def test_coordinates_follow_what_is_held():
    """With C held, A free, the start is the identified system seen through that C."""
    y = truth().sample(1000, seed=0).y[:, :1]
    c = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    lds = started(ss.LDS(2, 1, C=ss.Fixed(c), d=ss.Param()), y)
    torch.testing.assert_close(modes(lds.A), modes(truth().A), atol=0.1, rtol=0)
    with_q = started(ss.LDS(2, 3, Q=ss.Fixed(torch.eye(2))), truth().sample(1000, seed=0).y)
    torch.testing.assert_close(modes(with_q.A), modes(truth().A), atol=0.1, rtol=0)


CORNERS = {
    "one row": lambda: torch.randn(1, 3),
    "two rows": lambda: torch.randn(2, 3),
    "as many rows as states": lambda: torch.randn(4, 3),
    "a constant column": lambda: torch.cat([torch.randn(30, 2), torch.ones(30, 1)], 1),
    "all zero": lambda: torch.zeros(30, 3),
    "a ramp": lambda: torch.arange(90.0).view(30, 3),
    "mostly missing": lambda: torch.where(torch.rand(60, 3) < 0.8, torch.nan, torch.randn(60, 3)),
    "rows of gaps": lambda: torch.cat(
        [torch.randn(5, 3), torch.full((50, 3), math.nan), torch.randn(5, 3)]
    ),
}


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("n", [1, 4])
def test_corners_give_a_finite_stable_start(name: str, n: int):
    """Whatever the data, a finite likelihood, a stable A, and covariances."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = CORNERS[name]().double()
    lds = started(ss.LDS(n, 3), y)
    assert all(bool(torch.isfinite(s.value()).all()) for s in lds.slots.values())
    assert float(torch.linalg.eigvals(lds.A.detach()).abs().max()) < 1
    for cov in (lds.Q, lds.R, lds.initial_cov):
        assert float(torch.linalg.eigvalsh(cov.detach()).min()) >= 0
    assert math.isfinite(float(lds.log_likelihood(y).detach()))


def test_the_start_is_near_the_maximum():
    """From the start of a known system EM has less than a tenth of a nat a row to win."""
    y = truth().sample(300, seed=4).y
    fit = ss.LDS(2, 3).fit(y, seed=0)
    assert fit.log_likelihood - fit.history[0] < 0.15 * 300


def test_generator_alone_decides():
    """The same generator gives the same start."""
    y = truth().sample(6, seed=4).y
    one, two = started(ss.LDS(4, 3), y), started(ss.LDS(4, 3), y)
    assert torch.equal(one.A, two.A)
