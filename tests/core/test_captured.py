"""Rows recorded once and replayed along time are the loop over rows.

The recorder here stands in for a CUDA graph: it keeps operations with the memory they worked on,
and does those again, without the Python around them.

Would catch: a buffer that is not filled anew, a row lost at the seam of two chunks or in the last,
an operation whose result hangs on more than its recorded memory, one that waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from lengthy import KINDS, apart, lengthy
from systems import CASES, Case
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from statespace.inference.lineargaussian import captured, forward, log_likelihood, start
from statespace.inference.lineargaussian.backward import _loop, _masked
from statespace.inference.lineargaussian.captured import replay
from statespace.inference.lineargaussian.captured.rows import (
    adjoint_row,
    lower,
    moments_row,
    substituted,
)
from statespace.inference.lineargaussian.likelihood import total
from statespace.inference.lineargaussian.passes import Plan
from statespace.linalg import lq, quadratic


class Recorder(TorchDispatchMode):
    """Keeps every operation and its memory; replaying writes new results into that memory."""

    made: ClassVar[list[Recorder]] = []

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0
        self.made.append(self)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.kept.append((func, args, kwargs or {}, out))
        return out

    def capture(self, work: Callable[[], None]) -> None:
        with self:
            work()

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, out in self.kept:
            if func.is_view:
                continue  # the same memory by another name
            new = func(*args, **kwargs)
            if new is not out and isinstance(out, Tensor) and not func._schema.is_mutable:
                out.copy_(new)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of four rows."""
    monkeypatch.setattr(replay, "LENGTH", 4)
    monkeypatch.setattr(replay, "_chunks", type(replay._chunks)())
    monkeypatch.setattr(Recorder, "made", [])


def plan_of(system: Any, y: Tensor, seen: Tensor, on: Tensor) -> Plan:
    return Plan(system, start(system), y, seen, on)


@pytest.mark.parametrize("rows", [5, 6, 8, 9, 12, 13, 22])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("short")
def test_recorded_rows_are_the_loop(rows: int, kind: str) -> None:
    """Whole and ragged chunks, forward with and without moments, and backward."""
    system, y, seen, on = lengthy(rows, kind)
    loop = forward(system, start(system), y, seen, on)
    ours = captured.forward(plan_of(system, y, seen, on), graph=Recorder)
    brief = captured.forward(plan_of(system, y, seen, on), keep=False, graph=Recorder)
    assert ours is not None
    assert brief is not None
    assert [r.replays for r in Recorder.made] == [-(-(rows - 1) // 4)] * 2
    for name in ("f", "s", "sf"):
        assert apart(*(quadratic(getattr(run, name)) for run in (ours, loop))) < 1e-12, name
    for name in ("x", "xf"):
        assert apart(getattr(ours, name), getattr(loop, name)) < 1e-12, name
    values = [total(run)[0] for run in (ours, brief, loop)]
    assert torch.allclose(values[0], values[2], rtol=1e-12)
    assert torch.equal(values[0], values[1])
    _, g, h = _masked(loop, system, loop.used.double())
    moving = system.over_time("A", 1)
    down = captured.descend(loop.e, g, h, moving, graph=Recorder)
    assert down is not None
    for a, b in zip(down, _loop(loop.e, g, h, system), strict=True):
        assert apart(a, b) < 1e-12


@pytest.mark.usefixtures("short")
def test_a_recording_serves_other_numbers_of_its_shapes() -> None:
    """Other data and parameters of the same shapes, a shorter series too: one recording in all."""
    for rows in (13, 9, 13):
        for shift in (0.0, 1.0):
            system, y, seen, on = lengthy(rows, "gaps")
            y = y + shift
            ours = captured.forward(plan_of(system, y, seen, on), graph=Recorder)
            assert ours is not None
            loop = forward(system, start(system), y, seen, on)
            assert torch.allclose(total(ours)[0], total(loop)[0], rtol=1e-12)
    assert len(Recorder.made) == 1
    captured.forward(plan_of(*lengthy(9, "complete")), graph=Recorder)
    assert len(Recorder.made) == 2


@pytest.mark.usefixtures("short")
def test_few_recordings_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not used for longest goes."""
    monkeypatch.setattr(replay, "_KEPT", 2)
    for kind in ("gaps", "complete", "gaps", "varying", "gaps", "complete"):
        captured.forward(plan_of(*lengthy(9, kind)), graph=Recorder)
    assert len(Recorder.made) == 4  # "complete" made room for "varying", and was made again
    assert len(replay._chunks) == 2


class Refuses:
    """A device that records nothing."""

    tried = 0

    def capture(self, work: Callable[[], None]) -> None:
        type(self).tried += 1
        raise RuntimeError("operation not permitted when stream is capturing")

    def replay(self) -> None:
        raise AssertionError("nothing was recorded")


@pytest.mark.usefixtures("short")
def test_where_nothing_is_recorded_the_loop_answers() -> None:
    """It is tried once for a shape, and None says so."""
    Refuses.tried = 0
    plan = plan_of(*lengthy(9, "gaps"))
    assert captured.forward(plan, graph=Refuses) is None
    assert captured.forward(plan, graph=Refuses) is None
    assert Refuses.tried == 1


@pytest.mark.parametrize("device", [Recorder, Refuses])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("short")
def test_values_and_gradients(kind: str, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device that records, and on one that refuses: the numbers of the loop."""
    system, y, seen, on = lengthy(13, kind)

    def gradient() -> tuple[Tensor, ...]:
        leaves = (y.clone().requires_grad_(), system.A.clone().requires_grad_())
        value = log_likelihood(replace(system, A=leaves[1]), leaves[0], seen, on, core="plain")
        return (value.detach(), *torch.autograd.grad(value.sum(), leaves))

    wanted = gradient()
    assert not captured.suits(y, 0)  # the CPU has nothing to launch
    monkeypatch.setattr(captured, "suits", lambda rows, reflections: True)
    for name in ("forward", "descend"):
        monkeypatch.setattr(captured, name, partial(getattr(captured, name), graph=device))
    for a, b in zip(gradient(), wanted, strict=True):
        assert apart(a, b) < 1e-11
    assert len(replay._chunks) == 2  # forward and backward


@pytest.mark.parametrize("case", [c for c in CASES if len(c.y) > 1], ids=lambda c: c.name)
@pytest.mark.usefixtures("short")
def test_the_table_of_systems(case: Case) -> None:
    """Singular noise, exact and diffuse starts, more outputs than states, nothing seen."""
    system = case.system().detach()
    y, seen, on = case.data()
    ours = captured.forward(plan_of(system, y, seen, on), graph=Recorder)
    assert ours is not None
    loop = forward(system, start(system), y, seen, on)
    assert float(total(ours)[0]) == pytest.approx(float(total(loop)[0]), rel=1e-11)
    assert apart(ours.xf, loop.xf) < 1e-10


SHAPES = [(1, 1), (1, 4), (4, 1), (3, 3), (3, 7), (7, 3), (5, 6)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["64", "32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [2.0**-60, 1.0, 2.0**65])
def test_reflections_are_the_library(
    shape: tuple[int, int], dtype: torch.dtype, scale: float
) -> None:
    """A root of the same product, of any rank, in units whose squares under- or overflow."""
    g = torch.Generator().manual_seed(3)
    m = torch.randn(6, *shape, generator=g, dtype=torch.float64)
    m[1] = 0.0
    m[2, -1] = m[2, 0]
    m[3, 0] *= 1e-12
    m[4] = m[4, :, :1] @ m[4, :1]
    m[5, 0], m[5, 0, 0] = torch.finfo(dtype).eps ** 0.5, -1.0  # already along its own entry
    m = m.to(dtype)
    ours, theirs = lower(scale * m) / scale, lq(m)
    assert torch.equal(ours, ours.tril())
    size = m.norm(dim=-1)
    bound = 40 * torch.finfo(dtype).eps * size[:, :, None] * size[:, None, :]
    assert bool(((quadratic(ours) - quadratic(theirs)).abs() <= bound).all())


def test_substitution() -> None:
    """F^-1 of several right-hand sides."""
    g = torch.Generator().manual_seed(3)
    f = torch.randn(2, 4, 4, generator=g, dtype=torch.float64).tril()
    right = torch.randn(5, 2, 4, 3, generator=g, dtype=torch.float64)
    wanted = torch.linalg.solve_triangular(f, right, upper=False)
    assert torch.allclose(substituted(f, right), wanted, rtol=1e-12)


WAITS = ("linalg_qr", "geqrf", "triangular", "cholesky", "svd", "_local_scalar", "nonzero", "item")


@pytest.mark.parametrize("row", [moments_row, adjoint_row])
def test_rows_neither_wait_nor_factorise(row: Any) -> None:
    """On tensors without numbers, where asking for one fails; and in no routine of a library."""
    n, m, names = 3, 2, []

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    shapes = {
        "A": (n, n), "b": (n,), "Q": (n, n), "C": (m, n), "d": (m,), "R": (m, m), "y": (4, m),
        "on": (4, m), "e": (4, m, 2), "g": (n, m), "h": (m, n), "left": (n, n),
    }  # fmt: skip
    with FakeTensorMode(), Names():
        p = {name: torch.ones(shape) for name, shape in shapes.items()}
        row(p, (torch.ones(4, n, 2), torch.ones(4, n, n)))
    assert names
    assert not [name for name in names if any(word in name for word in WAITS)]


@pytest.mark.cuda
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["64", "32"])
def test_a_graph_is_the_loop(kind: str, dtype: torch.dtype) -> None:
    """Of the device, not the stand-in: chunks of the real length, whole and ragged, twice each."""
    bound = 1e-10 if dtype == torch.float64 else 1e-4
    for rows in (replay.LENGTH + 1, 3 * replay.LENGTH + 5):
        for _ in range(2):
            system, y, seen, on = lengthy(rows, kind, dtype)
            loop = forward(system, start(system), y, seen, on)
            _, g, h = _masked(loop, system, loop.used.to(dtype))
            back = _loop(loop.e, g, h, system)
            plan = plan_of(*lengthy(rows, kind, dtype, "cuda"))
            assert captured.suits(plan.y, 2 * plan.system.n + plan.system.m)
            ours = captured.forward(plan)
            assert ours is not None, "the device refuses to record the rows"
            for name in ("x", "xf"):
                assert apart(getattr(ours, name).cpu(), getattr(loop, name)) < bound
            moving = plan.system.over_time("A", 1)
            down = captured.descend(*(v.to("cuda") for v in (loop.e, g, h)), moving)
            assert down is not None, "the device refuses to record the rows back"
            assert all(apart(a.cpu(), b) < bound for a, b in zip(down, back, strict=True))
