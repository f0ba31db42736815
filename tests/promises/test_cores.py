"""The compiled core gives the numbers of the plain one: values, gradients, smoothed moments.

Would catch: any slip in the compiled loops, and a compiled path that is never taken.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import CASES, IDS, Case
from remade import names_of, remade

import statespace as ss
from statespace.inference.kalman import smoothing
from statespace.inference.lineargaussian import likelihood

EXACT, SINGLE = 1e-10, 1e-4


def close(a: Any, b: Any, bound: float) -> None:
    assert a.shape == b.shape
    size = max(1.0, float(b.nan_to_num(posinf=0.0, neginf=0.0).abs().max())) if b.numel() else 1.0
    assert torch.allclose(a, b, rtol=bound, atol=bound * size, equal_nan=True)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which compiled passes gave an answer, in order."""
    seen: list[str] = []

    def watch(module: Any, name: str) -> None:
        inner = getattr(module, name)

        def outer(*args: Any, **kwargs: Any) -> Any:
            found = inner(*args, **kwargs)
            if found is not None:
                seen.append(name)
            return found

        monkeypatch.setattr(module, name, outer)

    for name in ("run_forward", "run_score"):
        watch(likelihood, name)
    watch(smoothing, "run_moments")
    return seen


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_log_likelihood_and_gradients(case: Case, dtype: torch.dtype, answered: list[str]) -> None:
    """In every parameter, the first moments, the inputs and the data, series weighted apart."""
    bound = EXACT if dtype == torch.float64 else SINGLE
    plain, data = case.make(dtype=dtype), case.data(dtype)
    made = remade(plain, lambda _, v: v)
    leaves = {name: made.slots[name].value().detach().clone() for name in names_of(plain)}
    leaves |= {k: data[k].clone() for k in ("y", "inputs") if k in data}
    for leaf in leaves.values():
        leaf.requires_grad_()
    found = {}
    for core in ("plain", "compiled"):
        model = remade(plain, lambda name, _: leaves[name])
        told = {**data, **{k: leaves[k] for k in ("y", "inputs") if k in leaves}}
        value = model.log_likelihood(**told, method=ss.Kalman(core))
        weight = torch.linspace(0.5, 2.0, max(1, value.numel()), dtype=dtype).view(value.shape)
        grads = torch.autograd.grad(
            (value * weight).sum(), list(leaves.values()), allow_unused=True
        )
        found[core] = (value.detach(), *(g for g in grads if g is not None))
    for a, b in zip(found["compiled"], found["plain"], strict=True):
        close(a, b, bound)
    assert answered[0] == "run_forward"
    if case.name != "one row, diffuse":  # a direction stays unresolved: left to the plain path
        assert answered == ["run_forward", "run_score"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_smoothed_moments(case: Case, dtype: torch.dtype, answered: list[str]) -> None:
    """Means, covariances, lag-one covariances and what was not observed."""
    bound = EXACT if dtype == torch.float64 else SINGLE
    model, data = case.make(dtype=dtype), case.data(dtype)
    plain = model.smooth(**data, method=ss.Kalman("plain"))
    ours = model.smooth(**data, method=ss.Kalman("compiled"))
    for name in ("log_likelihood", "mean", "cov", "cross_cov", "y_mean", "y_cov"):
        close(getattr(ours, name), getattr(plain, name), bound)
    if case.name != "one row, diffuse":
        assert answered == ["run_moments"]


@pytest.mark.parametrize("case", [c for c in CASES if "many" not in c.tags], ids=lambda c: c.name)
def test_structures_of_r(case: Case, answered: list[str]) -> None:
    """R diagonal by structure, diagonal by chance, dense, singular: values, moments, gradients."""
    m = case.make().obs_dim
    half = torch.randn(m, max(m - 1, 1), generator=torch.Generator().manual_seed(1)).double()
    shapes = {
        "structure": ss.Param(0.5 * torch.eye(m, dtype=torch.float64), structure="diag"),
        "chance": ss.Param(0.5 * torch.eye(m, dtype=torch.float64)),
        "dense": ss.Param(half @ half.mT + 0.1 * torch.eye(m, dtype=torch.float64)),
        "singular": ss.Fixed(half @ half.mT),
    }
    for r in shapes.values():
        found = []
        for core in ("plain", "compiled"):
            model = case.make().replace(R=r)
            value = model.log_likelihood(**case.data(), method=ss.Kalman(core))
            if value.requires_grad:  # not where all that is left is held
                value.sum().backward()
            moments = model.smooth(**case.data(), method=ss.Kalman(core))
            slots = [p.grad for p in model.parameters() if p.grad is not None]
            found.append((value.detach(), moments.mean, moments.cov, moments.cross_cov, *slots))
        for a, b in zip(*found, strict=True):
            close(a, b, 1e-9)


def test_a_core_is_one_of_four() -> None:
    """Another word is refused."""
    words = r'`core`: expected "auto", "plain", "compiled" or "scan"'
    with pytest.raises(ss.errors.InputError, match=words):
        ss.Kalman("fast")


@pytest.mark.parametrize("batch", [(), (20,), (2, 3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("dense", [False, True], ids=["diagonal", "dense"])
def test_gains_that_settle(
    batch: tuple[int, ...], dtype: torch.dtype, dense: bool, answered: list[str]
) -> None:
    """Long complete series, whose covariances stand still in the middle: all numbers."""
    g = torch.Generator().manual_seed(3)
    half = torch.randn(4, 4, generator=g, dtype=torch.float64)
    r = 0.1 * half @ half.mT + torch.eye(4) if dense else torch.diag(torch.arange(1.0, 5.0))
    y = torch.randn(*batch, 300 if batch else 1200, 4, generator=g, dtype=torch.float64).to(dtype)
    found = []
    for core in ("plain", "compiled"):
        model = ss.LDS(
            3, 4, A=[[0.9, 0.3, 0.0], [-0.3, 0.9, 0.1], [0.0, 0.0, 0.6]],
            C=torch.randn(4, 3, generator=torch.Generator().manual_seed(5)), d=torch.ones(4),
            b=ss.Param([0.1, 0.2, 0.3]), Q=ss.Param(0.3 * torch.eye(3)), R=ss.Param(r),
            initial="estimate", initial_mean=torch.ones(3), initial_cov=2.0 * torch.eye(3),
            dtype=dtype,
        )  # fmt: skip
        data = y.clone().requires_grad_()
        value = model.log_likelihood(data, method=ss.Kalman(core))
        weight = torch.linspace(0.5, 2.0, max(1, value.numel()), dtype=dtype).view(value.shape)
        (value * weight).sum().backward()
        s = model.smooth(y, method=ss.Kalman(core))
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        found.append((value.detach(), s.mean, s.cov, s.cross_cov, s.y_mean, data.grad, *grads))
    for i, (a, b) in enumerate(zip(found[1], found[0], strict=True)):
        close(a, b, SINGLE if dtype == torch.float32 else 1e-12 if i == 0 else EXACT)
    assert answered == ["run_forward", "run_score", "run_moments"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_filtered_moments(case: Case, dtype: torch.dtype) -> None:
    """Filtered and predicted moments, increments, and the state to go on from."""
    bound = EXACT if dtype == torch.float64 else SINGLE
    model, data = case.make(dtype=dtype), case.data(dtype)
    plain = model.filter(**data, method=ss.Kalman("plain"))
    ours = model.filter(**data, method=ss.Kalman("compiled"))
    for name in plain.layout:
        if getattr(plain, name) is not None:
            close(getattr(ours, name), getattr(plain, name), bound)
    close(ours.state.belief.mean, plain.state.belief.mean, bound)
    close(ours.state.belief.cov, plain.state.belief.cov, bound)


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_segments_of_time_change_no_number(gaps: bool) -> None:
    """A long batch, whose rows are held segment by segment, and its series alone, held whole."""
    lds = ss.LDS(3, 4, R=ss.Param(torch.eye(4), structure="diag"), seed=1)
    y = lds.sample(6000, (17,), seed=2).y
    if gaps:
        y[torch.rand(y.shape, generator=torch.Generator().manual_seed(4)) < 0.1] = torch.nan
    together = lds.smooth(y, method=ss.Kalman("compiled"))
    lds.log_likelihood(y, method=ss.Kalman("compiled")).sum().backward()
    grads = [p.grad.clone() for p in lds.parameters() if p.grad is not None]
    lds.zero_grad()
    for i in (0, 15, 16):
        alone = lds.smooth(y[i], method=ss.Kalman("compiled"))
        for name in ("mean", "cov", "cross_cov", "log_likelihood"):
            close(getattr(together, name)[i], getattr(alone, name), EXACT)
    sum(lds.log_likelihood(one, method=ss.Kalman("compiled")) for one in y).backward()
    for a, b in zip(grads, [p.grad for p in lds.parameters() if p.grad is not None], strict=True):
        close(a, b, EXACT)
