"""One long series in windows that go side by side gives what its rows give one after the other.

Would catch: a start of a window without its bias or with the wrong power of the map across one, a
row that is counted twice or not at all, and beliefs taken for forgotten that are not.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import statespace as ss
from statespace.inference.lineargaussian import compiled, overlaps, windows
from statespace.inference.lineargaussian import complete as settled

T = 2203  # not a multiple of the number of windows


def make(n: int, m: int, radius: float = 0.9, p: int = 0, **kwargs: Any) -> ss.LDS:
    g = torch.Generator().manual_seed(n + 7 * m)
    turn = torch.linalg.qr(torch.randn(n, n, generator=g).double())[0]
    root = torch.randn(m, m, generator=g).double()
    parts: dict[str, Any] = {
        "A": radius * turn,
        "b": torch.randn(n, generator=g).double(),
        "C": torch.randn(m, n, generator=g).double(),
        "d": torch.randn(m, generator=g).double(),
        "Q": 0.3 * torch.eye(n),
        "R": 0.5 * torch.eye(m) + root @ root.mT,
        "initial_mean": torch.full((n,), 3.0),
        "initial_cov": 2.0 * torch.eye(n),
    }
    if p:
        parts |= {"B": torch.randn(n, p, generator=g).double(), "input_dim": p}
        parts |= {"D": torch.randn(m, p, generator=g).double()}
    return ss.LDS(n, m, **(parts | kwargs))


def drawn(model: ss.LDS, gaps: bool, u: Tensor | None = None) -> Tensor:
    y = model.sample(T, inputs=u, seed=1).y.clone()
    if gaps:
        y[torch.rand(y.shape, generator=torch.Generator().manual_seed(2)) < 0.2] = torch.nan
    return y


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The answers of windows, as they come."""
    found: list[Any] = []

    def watch(module: Any, name: str, function: Any) -> None:
        def call(*args: Any) -> Any:
            found.append(function(*args))
            return found[-1]

        monkeypatch.setattr(module, name, call)

    watch(settled, "squares_by_window", windows.squares_by_window)
    watch(compiled, "value_by_overlap", overlaps.value_by_overlap)
    return found


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("p", [0, 2], ids=["plain", "inputs"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 2), (2, 5), (6, 1)])
def test_long_series(n: int, m: int, p: int, gaps: bool, counted: list[Any]) -> None:
    model = make(n, m, radius=0.6, p=p)
    u = torch.randn(T, p, generator=torch.Generator().manual_seed(3)).double() if p else None
    y = drawn(model, gaps, u)
    with torch.no_grad():
        found = model.log_likelihood(y, u)
        plain = model.log_likelihood(y, u, method=ss.Kalman(core="plain"))
    assert len(counted) == 1
    assert counted[0] is not None
    assert found.item() == pytest.approx(plain.item(), rel=1e-12)


def test_a_far_level_and_a_slow_filter(counted: list[Any]) -> None:
    """Starts are carried over windows in which hardly anything is forgotten."""
    model = make(2, 1, radius=0.9999, Q=1e-9 * torch.eye(2), b=torch.tensor([50.0, 0.0]))
    y = drawn(model, False) + 1e6
    with torch.no_grad():
        found = model.log_likelihood(y)
        plain = model.log_likelihood(y, method=ss.Kalman(core="plain"))
    assert found.item() == pytest.approx(plain.item(), rel=1e-12)
    gapped = y.clone()
    gapped[::5] = torch.nan
    with torch.no_grad():
        found = model.log_likelihood(gapped)
        plain = model.log_likelihood(gapped, method=ss.Kalman(core="plain"))
    assert counted[-1] is None  # beliefs do not agree: row after row
    assert found.item() == pytest.approx(plain.item(), rel=1e-12)


def test_sets_of_parameters(counted: list[Any]) -> None:
    """Each with a series of its own, whose gains settle at rows of their own."""
    first, second = make(3, 2), make(3, 2, radius=0.5)
    names = ("A", "b", "C", "d", "Q", "R", "initial_mean", "initial_cov")
    both = make(
        3, 2, **{k: torch.stack([getattr(x, k).detach() for x in (first, second)]) for k in names}
    )
    y = torch.stack([drawn(first, False), drawn(second, False)])
    with torch.no_grad():
        found = both.log_likelihood(y)
        alone = torch.stack([x.log_likelihood(v) for x, v in zip((first, second), y, strict=True)])
    assert len(counted) == 3
    torch.testing.assert_close(found, alone, rtol=1e-13, atol=0)


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_single_precision(gaps: bool, counted: list[Any]) -> None:
    model = make(3, 2)
    y = drawn(model, gaps)
    single = model.to(torch.float32)
    with torch.no_grad():
        found = single.log_likelihood(y.float())
        plain = single.log_likelihood(y.float(), method=ss.Kalman(core="plain"))
    assert counted[0] is not None
    assert found.item() == pytest.approx(plain.item(), rel=1e-5)


@pytest.mark.parametrize("gaps", [False, True], ids=["complete", "gaps"])
def test_gradients(gaps: bool) -> None:
    """Of the same value as without them."""
    model = make(3, 2)
    y = drawn(model, gaps)
    value = model.log_likelihood(y)
    grads = torch.autograd.grad(value, list(model.parameters()))
    plain = model.log_likelihood(y, method=ss.Kalman(core="plain"))
    for a, b in zip(grads, torch.autograd.grad(plain, list(model.parameters())), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert value.item() == pytest.approx(plain.item(), rel=1e-12)
