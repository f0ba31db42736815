"""Compiled loops of networks: the textbook's numbers, the generic loop's, and its derivative.

Would catch: a slope at the wrong mean, a bias of another row, a lane that reads its neighbour's
data, an adjoint that forgets that places of linearisation move, weights of series mixed up, a
loop that is never taken, and one that answers where it should not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from networks import CASES, IDS, Case, series, smoothed, textbook
from torch import Tensor

import statespace as ss
from statespace.errors import DerivativeError
from statespace.inference.linearising import compiled

TABLE = pytest.mark.parametrize("case", CASES, ids=IDS)
NUMBERS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
EXTENDED = ss.ExtendedKalman()
RULES = {
    "extended": EXTENDED,
    "unscented": ss.UnscentedKalman(),
    "cubature": ss.CubatureKalman(),
    "hermite": ss.GaussHermiteKalman(2),
}
VERBS = ("log_likelihood", "moments", "smooth")


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether compiled loops gave an answer, at each time they were asked."""
    seen: list[bool] = []

    def watch(inner: Any) -> Any:
        def outer(*args: Any) -> Any:
            found = inner(*args)
            seen.append(found is not None)
            return found

        return outer

    for name in VERBS:
        monkeypatch.setattr(compiled, name, watch(getattr(compiled, name)))
    return seen


def generic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns compiled loops away."""
    for name in VERBS:
        monkeypatch.setattr(compiled, name, lambda *args: None)


def close(a: Tensor, b: Tensor, bound: float) -> None:
    assert a.shape == b.shape
    size = max(1.0, float(b.nan_to_num().abs().max())) if b.numel() else 1.0
    assert torch.allclose(a, b, rtol=bound, atol=bound * size, equal_nan=True)


def weights(case: Case, dtype: torch.dtype) -> Tensor:
    """One for each series, all different."""
    return torch.linspace(0.5, 2.0, max(1, int(np.prod(case.batch))), dtype=dtype).view(case.batch)


@TABLE
def test_filter_and_smoother_are_the_textbook_s(case: Case, answered: list[bool]) -> None:
    """Every row of every series, by an explicit loop over covariances."""
    model, data = case.model(), case.data()
    f, s = model.filter(**data, method=EXTENDED), model.smooth(**data, method=EXTENDED)
    assert answered == [True, True]
    v = {k: torch.as_tensor(x) for k, x in case.values().items()}
    for (y, u), one, two in zip(series(case), list(f), list(s), strict=True):
        found = textbook(case, v, y, u)
        pairs = (("mean", one.mean), ("cov", one.cov), ("before", one.predicted_mean))
        for name, ours in (*pairs, ("before_cov", one.predicted_cov)):
            close(ours, torch.stack(found[name]), 1e-10)
        close(one.increments.sum(), found["total"], 1e-10)
        for ours, theirs in zip((two.mean, two.cov, two.cross_cov), smoothed(found), strict=True):
            close(ours[: len(theirs)], theirs, 1e-9)
        close(two.log_likelihood, found["total"], 1e-10)


@TABLE
def test_gradient_is_that_of_the_textbook(case: Case, answered: list[bool]) -> None:
    """By autograd of the explicit loop, in every letter, series weighted apart."""
    told = {k: torch.as_tensor(v) for k, v in case.values().items()}
    w = weights(case, torch.float64).reshape(-1)
    leaves = {k: v.clone().requires_grad_() for k, v in told.items()}
    model = case.model(**{k: ss.Fixed(v) for k, v in leaves.items() if "initial" not in k})
    total = (model.log_likelihood(**case.data(), method=EXTENDED).reshape(-1) * w).sum()
    held = [k for k in leaves if "initial" not in k]
    slots = [theta for name, theta in model.named_parameters() if "initial_mean" in name]
    ours = torch.autograd.grad(total, [*(leaves[k] for k in held), *slots])
    assert answered == [True]
    loops = [textbook(case, leaves, y, u)["total"] for y, u in series(case)]
    value = (torch.stack(loops) * w).sum()
    names = [*held, "initial_mean"]
    theirs = torch.autograd.grad(value, [leaves[k] for k in names])
    close(total.detach(), value.detach(), 1e-10)
    for name, a, b in zip(names, ours, theirs, strict=True):
        b = 0.5 * (b + b.mT) if name in "QR" else b
        a = 0.5 * (a + a.mT) if name in "QR" else a
        close(a, b, 1e-9)


@TABLE
def test_gradient_is_a_difference(case: Case) -> None:
    """Along a random direction in each free parameter, the initial covariance included."""
    model, data, w = case.model(), case.data(), weights(case, torch.float64)

    def total() -> Tensor:
        return (model.log_likelihood(**data, method=EXTENDED) * w).sum()

    learned = dict(model.named_parameters())
    grads = torch.autograd.grad(total(), list(learned.values()))
    for seed, (theta, grad) in enumerate(zip(learned.values(), grads, strict=True)):
        g = torch.Generator().manual_seed(seed)
        along = torch.randn(theta.shape, generator=g, dtype=theta.dtype)
        at, h, values = theta.detach().clone(), 1e-4, []
        for step in (-2, -1, 1, 2):
            with torch.no_grad():
                theta.copy_(at + step * h * along)
                values.append(float(total()))
                theta.copy_(at)
        slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
        assert float((grad * along).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-6)


@NUMBERS
@pytest.mark.parametrize("rule", RULES)
@TABLE
def test_the_generic_loop_says_the_same(
    case: Case, rule: str, dtype: torch.dtype, answered: list[bool], monkeypatch: Any
) -> None:
    """Values and all that a record of the filter holds."""
    method, bound = RULES[rule], 1e-10 if dtype == torch.float64 else 1e-4
    if rule == "hermite" and case.n > 4:
        method = ss.CubatureKalman()
    model, data = case.model(dtype), case.data(dtype)

    def asked() -> list[Tensor]:
        with torch.no_grad():
            value = model.log_likelihood(**data, method=method)
        f = model.filter(**data, method=method)
        z = f.state.belief
        moments = [f.mean, f.cov, f.predicted_mean, f.predicted_cov, f.y_mean, f.y_cov]
        return [value, *moments, f.increments, z.mean, z.cov]

    ours = asked()
    assert answered == [True, True]
    generic(monkeypatch)
    for a, b in zip(ours, asked(), strict=True):
        close(a, b, bound)


def test_points_may_weigh_more_in_covariances(answered: list[bool], monkeypatch: Any) -> None:
    """Moments of y seen through an activation, where the point in the middle has two weights."""
    case, method = CASES[3], ss.UnscentedKalman(alpha=0.9, beta=2.0, kappa=1.0)
    model, data = case.model(), case.data()
    ours = model.filter(**data, method=method)
    assert answered == [True]
    generic(monkeypatch)
    theirs = model.filter(**data, method=method)
    for name in ("mean", "cov", "y_mean", "y_cov", "increments"):
        close(getattr(ours, name), getattr(theirs, name), 1e-10)


@NUMBERS
@TABLE
def test_gradient_and_smoother_of_the_generic_loop(
    case: Case, dtype: torch.dtype, answered: list[bool], monkeypatch: Any
) -> None:
    """Learned numbers, smoothed moments, and what was not observed."""
    bound = 1e-10 if dtype == torch.float64 else 1e-4
    model, data, w = case.model(dtype), case.data(dtype), weights(case, dtype)

    def asked() -> list[Tensor]:
        value = (model.log_likelihood(**data, method=EXTENDED) * w).sum()
        grads = torch.autograd.grad(value, list(model.parameters()))
        s = model.smooth(**data, method=EXTENDED)
        return [*grads, s.mean, s.cov, s.cross_cov, s.log_likelihood, s.y_mean, s.y_cov]

    ours = asked()
    assert answered == [True, True]
    generic(monkeypatch)
    for a, b in zip(ours, asked(), strict=True):
        close(a, b, bound)


@pytest.mark.parametrize("rule", ["extended", "unscented"])
@TABLE
def test_whole_is_part_and_rest(case: Case, rule: str) -> None:
    """A state goes on where it stood: values, moments, gradient."""
    if case.lengths is not None:
        pytest.skip("series end apart")
    model, data, method = case.model(), case.data(), RULES[rule]
    cut = {k: (v[..., :5, :], v[..., 5:, :]) for k, v in data.items()}
    whole = model.filter(**data, method=method)
    part = model.filter(**{k: v[0] for k, v in cut.items()}, method=method)
    rest = model.filter(**{k: v[1] for k, v in cut.items()}, method=method, state=part.state)
    close(rest.mean, whole.mean[..., 5:, :], 1e-10)
    close(rest.cov, whole.cov[..., 5:, :, :], 1e-10)
    close(part.log_likelihood + rest.log_likelihood, whole.log_likelihood, 1e-10)
    if rule == "extended":
        told = {k: v[1] for k, v in cut.items()}
        value = model.log_likelihood(**told, method=method, state=part.state).sum()
        learned = [theta for name, theta in model.named_parameters() if "initial" not in name]
        for g in torch.autograd.grad(value, learned):
            assert bool(torch.isfinite(g).all())


def test_gradient_goes_on_from_a_state(monkeypatch: Any) -> None:
    """Of the rows after a state, as the generic loop has it."""
    case = CASES[0]
    model, data = case.model(), case.data()
    state = model.filter(data["y"][:5], method=EXTENDED).state

    def asked() -> list[Tensor]:
        value = model.log_likelihood(data["y"][5:], method=EXTENDED, state=state)
        learned = [theta for name, theta in model.named_parameters() if "initial" not in name]
        return [value.detach(), *torch.autograd.grad(value, learned)]

    ours = asked()
    generic(monkeypatch)
    for a, b in zip(ours, asked(), strict=True):
        close(a, b, 1e-10)


@pytest.mark.parametrize("keep", ["means", "marginals", "last"])
def test_what_is_not_kept_is_not_there(keep: str) -> None:
    """The rest is the same."""
    case = CASES[1]
    model, data = case.model(), case.data()
    if keep == "last":
        f = model.filter(**data, method=EXTENDED, keep=keep)
        close(f.log_likelihood, model.filter(**data, method=EXTENDED).log_likelihood, 1e-12)
        return
    s, whole = (model.smooth(**data, method=EXTENDED, keep=k) for k in (keep, "all"))
    close(s.mean, whole.mean, 1e-12)
    if keep == "marginals":
        close(s.cov, whole.cov, 1e-12)


def test_draws_come_from_rows_made_when_they_are_asked_for() -> None:
    """Posterior draws have the smoothed moments; 4 standard errors, two in 10^4 for each entry."""
    case = CASES[0]
    s = case.model().smooth(**case.data(), method=EXTENDED)
    drawn = s.sample(4000, seed=0)
    z = (drawn.mean(0) - s.mean) / (s.cov.diagonal(dim1=-2, dim2=-1) / 4000).sqrt()
    assert float(z.abs().max()) < 4


ELSEWHERE = {
    "a function of one's own": {"activation": torch.sin},
    "one model per series": {"A": np.zeros((2, 4, 4))},
    "varying in time": {"A": ss.Varying(np.zeros((12, 4, 4)))},
}


@pytest.mark.parametrize("other", ELSEWHERE)
def test_where_loops_do_not_serve(other: str, answered: list[bool]) -> None:
    """The generic loop answers."""
    case = CASES[0]
    told = {k: v for k, v in case.values().items() if k not in ELSEWHERE[other]}
    told |= {"activation": "tanh"} | ELSEWHERE[other]
    model = ss.NoisyRNN(4, 3, **told, initial="estimate")
    y = case.data()["y"]
    value = model.log_likelihood(y.expand(2, -1, -1), method=EXTENDED)
    assert answered == [False]
    assert bool(torch.isfinite(value).all())


def test_what_needs_no_loop_of_its_own(answered: list[bool]) -> None:
    """Iterated updates, and data that are differentiated, are the generic loop's."""
    case = CASES[0]
    model, y = case.model(), case.data()["y"].requires_grad_()
    model.log_likelihood(y, method=EXTENDED).backward()
    assert y.grad is not None
    model.filter(y.detach(), method=ss.ExtendedKalman(iterations=2))
    assert answered == [False, False]


def test_an_entry_that_others_determine(answered: list[bool], monkeypatch: Any) -> None:
    """Where an innovation has no variance the generic loop decides: these data contradict it."""
    case = CASES[0]
    c = case.values()["C"]
    c[1] = c[0]
    model = case.model(C=c, R=ss.Fixed(np.zeros((3, 3))))
    assert float(model.log_likelihood(**case.data(), method=EXTENDED).detach()) == -math.inf
    assert answered == [False]


def test_a_second_derivative_is_refused() -> None:
    """With create_graph the first one is there."""
    case = CASES[0]
    model = case.model()
    value = model.log_likelihood(**case.data(), method=EXTENDED)
    (slope, *_) = torch.autograd.grad(value, list(model.parameters()), create_graph=True)
    with pytest.raises(DerivativeError, match="first derivative"):
        torch.autograd.grad(slope.sum(), list(model.parameters()))


def test_threads_give_the_numbers_of_one() -> None:
    """Blocks of series on several threads."""
    case = Case("many", "tanh", "identity", 6, 3, 0, (60,), 200)
    model, y, before = case.model(), case.data()["y"], torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            value = model.log_likelihood(y, method=EXTENDED)
            answers.append([value.detach(), *torch.autograd.grad(value.sum(), model.parameters())])
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*answers, strict=True):
        assert torch.equal(a, b)
