"""The scan over time gives the numbers of the plain loops: for every case, verb and argument.

Would catch: a slip in a map of the scan, an axis taken for time, and a scan that is never taken.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from cases import CASES, IDS, Case
from remade import names_of, remade

import statespace as ss
from statespace.inference.lineargaussian.passes import Pass

EXACT, SINGLE = 1e-10, 1e-4
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["64", "32"])


def close(a: Any, b: Any, bound: float) -> None:
    assert a.shape == b.shape
    size = max(1.0, float(b.nan_to_num(posinf=0.0, neginf=0.0).abs().max())) if b.numel() else 1.0
    assert torch.allclose(a, b, rtol=bound, atol=bound * size, equal_nan=True)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each scan that was tried, whether it gave the answer."""
    seen: list[bool] = []
    loops = importlib.import_module("statespace.inference.lineargaussian.forward")
    inner = loops.scan_forward

    def outer(plan: Any) -> Pass | None:
        found = inner(plan)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(loops, "scan_forward", outer)
    return seen


@DTYPES
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_log_likelihood_and_gradients(case: Case, dtype: torch.dtype, scans: list[bool]) -> None:
    """In every parameter, the first moments, the inputs and the data, series weighted apart."""
    bound = EXACT if dtype == torch.float64 else SINGLE
    plain, data = case.make(dtype=dtype), case.data(dtype)
    made = remade(plain, lambda _, v: v)
    leaves = {name: made.slots[name].value().detach().clone() for name in names_of(plain)}
    leaves |= {k: data[k].clone() for k in ("y", "inputs") if k in data}
    for leaf in leaves.values():
        leaf.requires_grad_()
    found = {}
    for core in ("plain", "scan"):
        model = remade(plain, lambda name, _: leaves[name])
        told = {**data, **{k: leaves[k] for k in ("y", "inputs") if k in leaves}}
        value = model.log_likelihood(**told, method=ss.Kalman(core))
        weight = torch.linspace(0.5, 2.0, max(1, value.numel()), dtype=dtype).view(value.shape)
        grads = torch.autograd.grad(
            (value * weight).sum(), list(leaves.values()), allow_unused=True
        )
        found[core] = (value.detach(), *(g for g in grads if g is not None))
    for a, b in zip(found["scan"], found["plain"], strict=True):
        close(a, b, bound)
    assert scans == [True]


@DTYPES
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_moments(case: Case, dtype: torch.dtype, scans: list[bool]) -> None:
    """Of the filter and the smoother, what was not observed, the state to go on from."""
    bound = EXACT if dtype == torch.float64 else SINGLE
    model, data = case.make(dtype=dtype), case.data(dtype)
    plain, ours = (model.filter(**data, method=ss.Kalman(core)) for core in ("plain", "scan"))
    for name in plain.layout:
        if getattr(plain, name) is not None:
            close(getattr(ours, name), getattr(plain, name), bound)
    close(ours.state.belief.mean, plain.state.belief.mean, bound)
    close(ours.state.belief.cov, plain.state.belief.cov, bound)
    plain, ours = (model.smooth(**data, method=ss.Kalman(core)) for core in ("plain", "scan"))
    for name in ("log_likelihood", "mean", "cov", "cross_cov", "y_mean", "y_cov"):
        close(getattr(ours, name), getattr(plain, name), bound)
    assert scans == [True, True]


@pytest.mark.parametrize("case", [c for c in CASES if "many" not in c.tags], ids=lambda c: c.name)
def test_structures_of_r(case: Case, scans: list[bool]) -> None:
    """R diagonal, dense, singular, zero: values, moments, gradients."""
    m = case.make().obs_dim
    half = torch.randn(m, max(m - 1, 1), generator=torch.Generator().manual_seed(1)).double()
    shapes = {
        "structure": ss.Param(0.5 * torch.eye(m, dtype=torch.float64), structure="diag"),
        "dense": ss.Param(half @ half.mT + 0.1 * torch.eye(m, dtype=torch.float64)),
        "singular": ss.Fixed(half @ half.mT),
        "zero": ss.Fixed(torch.zeros(m, m, dtype=torch.float64)),
    }
    for name, r in shapes.items():
        found = []
        for core in ("plain", "scan"):
            model = case.make().replace(R=r)
            value = model.log_likelihood(**case.data(), method=ss.Kalman(core))
            if value.requires_grad:  # not where all that is left is held
                value.sum().backward()
            moments = model.smooth(**case.data(), method=ss.Kalman(core))
            slots = [p.grad for p in model.parameters() if p.grad is not None]
            found.append((value.detach(), moments.mean, moments.cov, moments.cross_cov, *slots))
        for a, b in zip(*found, strict=True):
            close(a, b, 1e-9)
        if name != "zero":  # more exact outputs than states: the loop decides which are determined
            assert all(scans)


def test_continuing_from_a_state(scans: list[bool]) -> None:
    """The first part, then the rest, is the whole."""
    lds = ss.LDS(2, 2, seed=1, initial="diffuse")
    y = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    scan = ss.Kalman("scan")
    whole = lds.filter(y, method=scan)
    first = lds.filter(y[:, :11], method=scan)
    rest = lds.filter(y[:, 11:], method=scan, state=first.state)
    close(first.log_likelihood + rest.log_likelihood, whole.log_likelihood, EXACT)
    close(rest.mean, whole.mean[:, 11:], EXACT)
    assert scans == [True] * 3


def test_the_cpu_never_scans_unasked(scans: list[bool]) -> None:
    """However long the series."""
    lds = ss.LDS(1, 1, seed=1)
    y = lds.sample(600, seed=2).y
    lds.log_likelihood(y)
    lds.smooth(y)
    lds.log_likelihood(y, method=ss.Kalman("plain"))
    assert scans == []


def test_overflow_is_the_same_named_error() -> None:
    """The scan leaves it to the loop, which names the place."""
    lds = ss.LDS(
        1, 1, A=[[1e60]], C=[[1.0]], Q=[[1.0]], R=[[1.0]], initial_mean=[0.0], initial_cov=[[1.0]]
    )  # fmt: skip
    y = torch.zeros(12, 1, dtype=torch.float64)
    y[1:11] = torch.nan
    for core in ("plain", "scan"):
        with pytest.raises(ss.errors.NumericalError, match="row 11"):
            lds.log_likelihood(y, method=ss.Kalman(core))


@pytest.mark.cuda
@DTYPES
@pytest.mark.parametrize("core", ["auto", "plain", "scan"])
def test_on_a_gpu(core: Any, dtype: torch.dtype) -> None:
    """The loops over rows and the scan on a GPU give the CPU's numbers, at lengths of both."""
    bound = EXACT if dtype == torch.float64 else SINGLE
    for rows, batch in ((7, ()), (70, (2,)), (300, ()), (300, (70,))):
        here, there = (ss.LDS(3, 2, seed=1, initial="diffuse", dtype=dtype) for _ in range(2))
        there = there.to("cuda")
        g = torch.Generator().manual_seed(2)
        y = torch.randn(*batch, rows, 2, generator=g, dtype=dtype)
        y[torch.rand(y.shape, generator=g) < 0.2] = torch.nan
        found = []
        for model, data, method in ((here, y, "plain"), (there, y.to("cuda"), core)):
            value = model.log_likelihood(data, method=ss.Kalman(method))
            value.sum().backward()
            grads = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
            s = model.smooth(data, method=ss.Kalman(method))
            f = model.filter(data, method=ss.Kalman(method))
            parts = (value.detach(), s.mean, s.cov, s.cross_cov, f.mean, f.cov, f.increments)
            found.append([*(x.cpu() for x in parts), *grads])
        for a, b in zip(*found, strict=True):
            close(a, b, bound)
