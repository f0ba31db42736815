"""Drawn paths are the same from plain and from compiled loops, seed by seed.

Their distribution is tested in `test_draws.py`; here only numbers are compared, and none hangs on
chance.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import systems
import torch
from cases import CASES, IDS, Case
from torch import Tensor

import statespace as ss
from statespace import kernels
from statespace.errors import NumericalError
from statespace.inference.lineargaussian import Start, forward, start
from statespace.inference.lineargaussian import simulate as simulating
from statespace.inference.lineargaussian.likelihood import total
from statespace.inference.lineargaussian.simulate import posterior_draws, simulate

EXACT, SINGLE = 1e-10, 1e-4


def close(a: Tensor, b: Tensor, bound: float = EXACT) -> None:
    assert a.shape == b.shape
    size = max(1.0, float(b.nan_to_num().abs().max()))
    assert torch.allclose(a, b, rtol=bound, atol=bound * size, equal_nan=True)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which loops drew and smoothed, in order."""
    seen: list[str] = []

    def watch(module: Any, name: str) -> None:
        inner = getattr(module, name)

        def outer(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return inner(*args, **kwargs)

        monkeypatch.setattr(module, name, outer)

    watch(kernels, "simulate_each")
    watch(simulating, "forward")
    return seen


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_posterior_paths(case: Case, dtype: torch.dtype, loops: list[str]) -> None:
    """Given y: batches, gaps, unequal lengths, diffuse starts, parameters that vary."""
    model, data = case.make(dtype=dtype), case.data(dtype)
    draws = []
    for core in ("compiled", "plain"):
        s = model.smooth(**data, method=ss.Kalman(core))
        if case.name == "one row, diffuse":
            with pytest.raises(NumericalError, match="diffuse"):
                s.sample(5, seed=1)
            return
        draws.append(s.sample(5, seed=1))
        if core == "compiled":
            assert "simulate_each" in loops
            assert "forward" not in loops
    assert draws[0].shape == (5, *s.mean.shape)
    close(*draws, EXACT if dtype == torch.float64 else SINGLE)


@pytest.mark.parametrize("case", [c for c in CASES if c.u is None], ids=lambda c: c.name)
def test_paths_of_a_forecast(case: Case, loops: list[str]) -> None:
    """From the state where the filter ended, and from the start."""
    model, data = case.make(), case.data()
    batch = case.y.shape[:-2]
    draws: dict[str, list[Tensor]] = {}
    for core in ("compiled", "plain"):
        method = ss.Kalman(core)
        begun = model.start(batch, method=method)
        ahead = [model.forecast(state=begun, horizon=3)]
        if case.lengths is None or "varying" not in case.tags:
            ahead.append(model.forecast(**data, horizon=3, method=method))
        draws[core] = [fc.sample(4, seed=2) for fc in ahead]
    for a, b in zip(draws["compiled"], draws["plain"], strict=True):
        close(a, b)
    assert "simulate_each" in loops


def resolved(case: systems.Case) -> bool:
    """Whether the data see every direction of a diffuse start."""
    system, (y, seen, active) = case.system(), case.data()
    return not bool(total(forward(system, start(system), y, seen, active))[1].blind.any())


@pytest.mark.parametrize("case", systems.CASES, ids=systems.IDS)
def test_singular_and_diffuse_systems(case: systems.Case) -> None:
    """Q, R or P of zero or of low rank; very wide starts."""
    system, (y, seen, active) = case.system(), case.data()
    begin, steps = start(system), len(y)
    found = []
    for core in ("compiled", "plain"):
        g = torch.Generator().manual_seed(3)
        z, drawn = simulate(system, begin, torch.Size((6,)), steps, g, core)  # type: ignore[arg-type]
        found.append([z, drawn])
        mean, g = torch.zeros(steps, system.n).double(), torch.Generator().manual_seed(4)
        with nullcontext() if resolved(case) else pytest.raises(NumericalError, match="diffuse"):
            told = (system, begin, mean, seen, active, 6, g, core)
            found[-1].append(posterior_draws(*told))  # type: ignore[arg-type]
    for a, b in zip(*found, strict=True):
        close(a, b, 1e-8 if case.name == "wide start" else 1e-9)


def test_a_longer_call_begins_with_the_shorter_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The draws of a seed stand one after the other, in however many pieces they are made."""
    lds = ss.LDS(2, 3, seed=0)
    y = lds.sample(20, (4,), seed=1).y
    y[:, 3, 1] = torch.nan
    s = lds.smooth(y, keep="means")
    many = s.sample(7, seed=5)
    close(s.sample(3, seed=5), many[:3])
    monkeypatch.setattr(simulating, "_AT_ONCE", 1)
    close(s.sample(7, seed=5), many)


def test_a_start_of_low_rank_keeps_its_variances() -> None:
    """A root with a zero on the diagonal: z_1 = (0, e, e)."""
    system = systems.CASES[0].system()
    root = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).double()
    begin = Start(root.new_zeros(3, 1), root, root.new_zeros(1, 1))
    g = torch.Generator().manual_seed(0)
    z = simulate(system, begin, torch.Size((50,)), 2, g)[0][:, 0]
    close(z[:, 1], z[:, 2])
    assert float(z[:, 0].abs().max()) < 1e-12
    assert 0.5 < float(z[:, 1].std()) < 1.5


def test_torch_is_left_as_it_was() -> None:
    """No number is taken from its own generator."""
    before = torch.get_rng_state()
    lds = ss.LDS(2, 3, seed=0)
    lds.smooth(lds.sample(20, (4,), seed=1).y).sample(3, seed=5)
    lds.forecast(lds.sample(20, (4,), seed=1).y, horizon=3).sample(3, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
