"""The scan over time is the loop over rows: the prefix, every field of a pass, hard numbers.

Would catch: a join in the wrong order, a row lost at an odd length, a map taken for constant that
is not, widened noise that reaches a number.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lengthy import KINDS, apart, lengthy
from oracles import DenseOracle
from systems import CASES, IDS, Case
from torch import Tensor

from statespace.gaussian import Gaussian
from statespace.inference.lineargaussian import (
    Pass,
    Start,
    System,
    filter_moments,
    forward,
    log_likelihood,
    smooth,
    start,
)
from statespace.inference.lineargaussian.backward import adjoint
from statespace.inference.lineargaussian.likelihood import total
from statespace.inference.lineargaussian.scan.prefix import through
from statespace.linalg import Covariance, quadratic

STEPS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33]


class Words(NamedTuple):
    """Maps that append letters, as numbers in base 3: not commutative, nothing is rounded."""

    value: Tensor
    size: Tensor  # 3 to the number of letters


def words_joined(first: Words, then: Words) -> Words:
    return Words(first.value * then.size + then.value, first.size * then.size)


def word_after(state: Tensor, then: Words) -> Tensor:
    return state * then.size + then.value


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("constant", [False, True])
def test_prefix_is_the_loop(steps: int, constant: bool) -> None:
    """Exactly, at every length; with maps said once for all of time, too."""
    g = torch.Generator().manual_seed(steps)
    letters = torch.randint(3, (steps, 2), generator=g)
    letters = letters[:1].expand(steps, 2) if constant else letters
    state, wanted = torch.tensor([1, 2]), []
    for letter in letters:
        state = state * 3 + letter
        wanted.append(state)
    maps = Words(letters[:1] if constant else letters, torch.full((1, 1), 3))
    found = through(torch.tensor([1, 2]), maps, steps, words_joined, word_after)
    assert torch.equal(found, torch.stack(wanted))


@pytest.mark.parametrize("steps", STEPS)
def test_prefix_is_work_efficient(steps: int) -> None:
    """Fewer joins than maps, as many applications as maps, a logarithm of rounds."""
    joins, applications = [], []

    def joined(first: Words, then: Words) -> Words:
        joins.append(first.value.shape[0])
        return words_joined(first, then)

    def after(state: Tensor, then: Words) -> Tensor:
        applications.append(state.shape[0])
        return word_after(state, then)

    maps = Words(torch.ones(steps, 1, dtype=torch.long), torch.full((steps, 1), 3))
    through(torch.ones(1, dtype=torch.long), maps, steps, joined, after)
    assert sum(joins) < max(steps, 1)
    assert sum(applications) == steps
    assert len(applications) == math.floor(math.log2(steps)) + 1


def both(system: System, y: Tensor, seen: Tensor, on: Tensor) -> tuple[Pass, Pass]:
    begin = start(system)
    scan, plain = (forward(system, begin, y, seen, on, core=core) for core in ("scan", "plain"))
    return scan, plain


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_field(case: Case) -> None:
    """Of the pass, the moments of the filter, the backward rows and the smoother."""
    system = case.system().detach()
    y, seen, on = case.data()
    ours, loop = both(system, y, seen, on)
    assert ours.scanned
    for name in ("f", "s", "sf"):  # roots of one covariance
        a, b = (quadratic(getattr(run, name)) for run in (ours, loop))
        assert apart(a, b.expand_as(a)) < 1e-10, name
    for name in ("x", "xf", "used"):
        assert apart(getattr(ours, name).double(), getattr(loop, name).double()) < 1e-10, name
    (value, known), (other, other_known) = total(ours), total(loop)
    assert float(value) == pytest.approx(float(other), rel=1e-10)
    found, wanted = (filter_moments(run, system)[:-1] for run in (ours, loop))
    for a, b in zip(found, wanted, strict=True):
        assert apart(a, b.expand_as(a)) < 1e-10
    down, up = adjoint(ours, system, known), adjoint(loop, system, other_known)
    for name in ("n", "n_after"):
        assert apart(getattr(down, name), getattr(up, name)) < 1e-10, name
    a, b = (smooth(run, system, k, y) for run, k in ((ours, known), (loop, other_known)))
    for name in ("mean", "cov", "cross_cov", "y_mean", "y_cov"):
        assert apart(getattr(a, name), getattr(b, name)) < 1e-10, name


def gradients(case: Case, core: Any) -> list[Tensor]:
    system = case.system(graph=True)
    y, seen, on = case.data()
    y = y.clone().requires_grad_()
    log_likelihood(system, y, seen, on, core=core).backward()
    leaves = (
        y, system.A, system.b, system.Q.matrix, system.C, system.d, system.R.matrix,
        system.prior.mean, system.prior.covariance.matrix,
    )  # fmt: skip
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_gradient(case: Case) -> None:
    """In every argument, singular noise and exact starts included."""
    for a, b in zip(gradients(case, "scan"), gradients(case, "plain"), strict=True):
        assert apart(a, b) < 1e-10


@pytest.mark.parametrize("rows", STEPS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_length(rows: int, kind: str) -> None:
    """Odd, even and powers of two: likelihood, filtered and smoothed moments to 1e-10."""
    system, y, seen, on = lengthy(rows, kind)
    ours, loop = both(system, y, seen, on)
    assert ours.scanned
    (value, known), (other, other_known) = total(ours), total(loop)
    assert torch.allclose(value, other, rtol=1e-10, atol=1e-10)
    found, wanted = (filter_moments(run, system)[:-1] for run in (ours, loop))
    for a, b in zip(found, wanted, strict=True):
        assert apart(a, b.expand_as(a)) < 1e-10
    y = y.movedim(1, 0)
    a, b = (smooth(run, system, k, y) for run, k in ((ours, known), (loop, other_known)))
    for name in ("mean", "cov", "cross_cov", "y_mean", "y_cov"):
        assert apart(getattr(a, name), getattr(b, name)) < 1e-10, name


def test_long_time_keeps_its_digits() -> None:
    """2000 rows with gaps: 1e-12 of the loop's likelihood, in float32 5e-6."""
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 5e-6)):
        system, y, seen, on = lengthy(2000, "gaps", dtype)
        ours, loop = both(system, y, seen, on)
        assert ours.scanned
        value, other = total(ours)[0], total(loop)[0]
        assert float(((value - other) / other).abs().max()) < bound


def given(A: Any, Q: Any, C: Any, R: Any, P: Any, dtype: torch.dtype = torch.float64) -> System:
    a, q, c, r, p = (torch.as_tensor(np.asarray(x), dtype=dtype) for x in (A, Q, C, R, P))
    noise = (Covariance.from_matrix(x) for x in (q, r))
    prior = Gaussian(a.new_zeros(len(a)), Covariance.from_matrix(p))
    return System(a, a.new_zeros(len(a)), next(noise), c, c.new_zeros(len(c)), next(noise), prior)


TREND = [[1.0, 1.0], [0.0, 1.0]]
CHAIN = [[0.9, 1.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.3]]
EXACT = {
    "the level of a smooth trend": (TREND, np.diag([0.0, 1.0]), [[1.0, 0.0]]),
    "the end of a chain": (CHAIN, np.diag([0.0, 0.0, 1.0]), [[1.0, 0.0, 0.0]]),
    "one late, one at once": (CHAIN, np.diag([0.0, 1.0, 1.0]), np.eye(3)[[0, 2]]),
    "an autoregression": ([[0.5, 0.3], [1.0, 0.0]], np.diag([1.0, 0.0]), [[1.0, 0.0]]),
}


@pytest.mark.parametrize("r", [0.0, 1e-30, 1e-24, 1e-16, 1e-8])
@pytest.mark.parametrize("name", EXACT)
def test_rows_that_are_exact(name: str, r: float) -> None:
    """Noise reaches an output late, or hardly: 60 digits' likelihood to 1e-12, means to 1e-11.

    Variances to 1e-13 of the widest state: that of an output measured to 1e-24 is rounding there.
    """
    A, Q, C = EXACT[name]
    n, m = len(A), len(C)
    g = np.random.default_rng(1)
    y = np.cumsum(g.standard_normal((13, m)), 0)
    y[5] = np.nan
    parts = (A, Q, C, r * np.eye(m), np.eye(n))
    dense = DenseOracle(
        y, np.asarray(A), np.zeros(n), Q, np.asarray(C), np.zeros(m), parts[3], np.zeros(n),
        parts[4], digits=60,
    )  # fmt: skip
    system, seen = given(*parts), torch.as_tensor(y)
    on = torch.ones(len(y), dtype=torch.bool)
    run = forward(system, start(system), seen.nan_to_num(), ~seen.isnan(), on, core="scan")
    assert run.scanned
    value, known = total(run)
    assert float(value) == pytest.approx(dense.log_likelihood(), rel=1e-12)
    exact, ours = dense.smoothed(), smooth(run, system, known, seen.nan_to_num())
    assert np.abs(ours.mean.numpy() - exact.mean).max() <= 1e-11 * np.abs(exact.mean).max()
    assert np.abs(ours.cov.numpy() - exact.cov).max() <= 1e-13 * float(quadratic(run.s).max())


@pytest.mark.parametrize("r", [0.0, 1.0])
def test_series_in_units_of_their_own(r: float) -> None:
    """What is rounding beside one series is not beside another in the same batch."""
    unit = torch.tensor([1.0, 1e9, 1e-9], dtype=torch.float64)[:, None, None]
    parts = EXACT["the end of a chain"]
    A, Q, C = (torch.as_tensor(np.asarray(x), dtype=torch.float64) for x in parts)
    noise = [Covariance.from_matrix(unit**2 * x) for x in (Q, r * torch.eye(1).double())]
    prior = Gaussian(torch.zeros(3, 3).double(), Covariance.from_matrix(unit**2 * torch.eye(3)))
    zero = torch.zeros(3).double()
    system = System(A.expand(3, 3, 3), zero, noise[0], C.expand(3, 1, 3), zero[:1], noise[1], prior)
    y = torch.randn(9, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * unit
    seen = torch.ones(3, 9, 1, dtype=torch.bool)
    seen[:, 4] = False
    ours, loop = both(system, y, seen, seen[..., 0] | True)
    assert ours.scanned
    assert torch.allclose(total(ours)[0], total(loop)[0], rtol=1e-11)


def test_the_loop_answers_where_nothing_varies_any_more() -> None:
    """Q = R = 0: the third row is known from two, and the scan leaves rank to the loop."""
    zero = np.zeros((2, 2))
    system = given([[0.5, 1.0], [0.0, 0.25]], zero, [[1.0, 0.0]], [[0.0]], np.eye(2))
    z, y = torch.tensor([0.5, 0.25], dtype=torch.float64), []
    for _ in range(6):
        y.append(z[:1])
        z = system.A @ z
    right = torch.stack(y)
    seen, on = torch.ones(6, 1, dtype=torch.bool), torch.ones(6, dtype=torch.bool)
    assert not both(system, right, seen, on)[0].scanned
    for rows, wanted in ((right, math.isfinite), (right + torch.arange(6.0)[:, None], math.isinf)):
        assert wanted(float(log_likelihood(system, rows, seen, on, core="scan")))


@pytest.mark.parametrize("rows", [1, 3])
def test_the_loop_answers_where_an_output_comes_twice(rows: int) -> None:
    """Without noise the second is determined by the first, in the first row, too."""
    system = given(0.5 * np.eye(2), np.eye(2), [[1.0, 2.0]] * 2, np.zeros((2, 2)), np.eye(2))
    y = torch.arange(1.0, rows + 1, dtype=torch.float64)[:, None].expand(rows, 2)
    seen, on = torch.ones(rows, 2, dtype=torch.bool), torch.ones(rows, dtype=torch.bool)
    ours, loop = both(system, y, seen, on)
    assert not ours.scanned
    assert torch.equal(total(ours)[0], total(loop)[0])


def test_a_start_that_is_given() -> None:
    """Columns of delta partly resolved, as a state to continue from has them."""
    system, y, seen, on = lengthy(9, "diffuse")
    begin = start(system)
    rows = torch.tensor([[0.3, 1.2], [0.0, 0.7]], dtype=torch.float64)
    begin = Start(begin.x, begin.s, rows)
    runs = [forward(system, begin, y, seen, on, core=core) for core in ("scan", "plain")]
    (value, known), (other, other_known) = map(total, runs)
    assert torch.allclose(value, other, rtol=1e-12)
    assert torch.allclose(known.mean, other_known.mean, rtol=1e-11)


def test_a_pass_has_no_field_that_is_not_looked_at() -> None:
    """The fields that these tests compare, and those that follow from them or are arguments."""
    looked_at = {"f", "s", "sf", "x", "xf", "used", "scanned"}
    follow = {"e", "gain", "start", "contradicted"}  # in the likelihood and the smoother
    assert {f.name for f in fields(Pass)} == looked_at | follow
