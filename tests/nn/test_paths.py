"""Memories: a scan is the loop over steps, and a step is what the equations say.

Would catch: gates in another order, a condition that one of the two forgets, a series that is read
beyond its end, sample axes that mix with the batch.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError
from statespace.interface import Path
from statespace.nn import CELLS, Feedforward, recurrent
from statespace.nn.paths.elman import elman
from statespace.shapes import leaves, tmap

F64 = torch.float64


def path_of(kind: str, **how: Any) -> Any:
    """A path of some kind, all of whose weights are random (biases too)."""
    torch.manual_seed(0)
    if kind == "feedforward":
        path: Any = Feedforward(3, 4, dtype=F64, **how)
    else:
        cell, _, norm = kind.partition(" ")
        act = "relu" if cell == "relu" else "tanh"
        word = "rnn" if cell == "relu" else cell
        path = recurrent(3, 4, word, activation=act, layer_norm=bool(norm), dtype=F64, **how)
    with torch.no_grad():
        for p in path.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return path


KINDS = [*CELLS, "relu", *(f"{c} normed" for c in CELLS), "feedforward"]


def close(a: Tensor, b: Tensor, bound: float = 1e-12) -> None:
    assert a.shape == b.shape
    assert torch.allclose(a, b, rtol=0, atol=bound)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("condition", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_is_the_loop_over_steps(kind: str, condition: int, layers: int) -> None:
    """Values and gradients, to 1e-12: unequal lengths (0 too), sample axes, a memory on the way."""
    path = path_of(kind, layers=layers, condition_dim=condition)
    g = torch.Generator().manual_seed(1)
    c = torch.randn(3, 2, dtype=F64, generator=g) if condition else ()
    begin = tmap(lambda x: x + 0.1, path.start((3,), c))
    begin = path.step(begin, torch.randn(3, 3, dtype=F64, generator=g))
    weights = torch.randn(2, 3, 6, 4, dtype=F64, generator=g)
    x = torch.randn(2, 3, 6, 3, dtype=F64, generator=g)
    lengths = torch.tensor([6, 0, 4])
    active = torch.arange(6) < lengths[:, None]

    def both(scan: Any) -> tuple[list[Tensor], list[Tensor]]:
        entry = x.clone().requires_grad_()
        end, h = scan(begin, entry, lengths)
        h = torch.where(active[..., None], h, 0.0)
        value = (weights * h).sum() + sum(leaf.sin().sum() for leaf in leaves(end))
        slopes = torch.autograd.grad(value, [entry, *path.parameters()], retain_graph=True)
        return [h, *leaves(end)], list(slopes)

    fused, looped = both(path.scan), both(lambda *a: Path.scan(path, *a))
    for a, b in zip([*fused[0], *fused[1]], [*looped[0], *looped[1]], strict=True):
        close(a, b.expand(a.shape))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample_on", ["x", "memory"])
def test_sample_axes(kind: str, sample_on: str) -> None:
    """Each sample is scanned as if it were alone, whichever of the two has the axis."""
    path = path_of(kind, layers=2)
    g = torch.Generator().manual_seed(2)
    x = torch.randn(*((5, 3) if sample_on == "x" else (3,)), 4, 3, dtype=F64, generator=g)
    memory = path.start((3,), ())
    if sample_on == "memory":
        memory = tmap(lambda m: torch.randn(5, *m.shape, dtype=F64, generator=g), memory)
    lengths = torch.tensor([4, 2, 3])
    end, h = path.scan(memory, x, lengths)
    for k in range(5):
        one = x[k] if sample_on == "x" else x
        own = tmap(lambda m, k=k: m[k], memory) if sample_on == "memory" else memory
        end_k, h_k = path.scan(own, one, lengths)
        for a, b in zip(leaves(end), leaves(end_k), strict=True):
            close(a[k], b)
        inside = torch.arange(4) < lengths[:, None]
        close(h[k][inside], h_k[inside])


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def norm(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    apart = x - x.mean()
    out = weight * apart / (apart.square().mean() + 1e-5).sqrt()
    return out if bias is None else out + bias


def by_hand(kind: str, path: Any, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """One step of one layer for one series, with the equations of the docstrings."""
    if "normed" in kind:
        cell = path.cells[0]
        a = norm(cell.entry.weight @ x, cell.norm_x.weight, cell.norm_x.bias)
        r = norm(cell.recurrent.weight @ h, cell.norm_h.weight, None)
        shown = lambda c: norm(c, cell.norm_c.weight, cell.norm_c.bias)  # noqa: E731
    else:
        k = path.kernel
        a = k.weight_ih_l0 @ x + k.bias_ih_l0
        r = k.weight_hh_l0 @ h + k.bias_hh_l0
        shown = lambda c: c  # noqa: E731
    if kind.startswith("relu"):
        return ((a + r).clamp_min(0),)
    if kind.startswith("rnn"):
        return (torch.tanh(a + r),)
    if kind.startswith("lstm"):
        i, f, g, o = (a + r).split(4)
        c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
        return sigmoid(o) * torch.tanh(shown(c)), c
    (ar, az, an), (rr, rz, rn) = a.split(4), r.split(4)
    keep = sigmoid(az + rz)
    return ((1 - keep) * torch.tanh(an + sigmoid(ar + rr) * rn) + keep * h,)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "feedforward"])
def test_a_step_is_what_its_equations_say(kind: str) -> None:
    """Written out for one layer: which gate keeps, where the reset acts, what is normalised."""
    path = path_of(kind)
    g = torch.Generator().manual_seed(3)
    x, h, c = (torch.randn(k, dtype=F64, generator=g) for k in (3, 4, 4))
    memory = (h, c) if kind.startswith("lstm") else (h,)
    wanted = by_hand(kind, path, x, h, c)
    for a, b in zip(path.step(memory, x), wanted, strict=True):
        close(a, b)
    close(path.read(path.step(memory, x)), wanted[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_condition_is_read_at_every_step(kind: str) -> None:
    """The derivative of the last h in c is that of every row, not of the first alone."""
    path = path_of(kind, condition_dim=2)
    c = torch.randn(2, dtype=F64, requires_grad=True)
    memory = path.start((), c)
    cut = tmap(lambda m: m.detach(), memory)
    for m in (memory, (*cut[:-1], memory[-1])):
        _, h = path.scan(m, torch.zeros(5, 3, dtype=F64), torch.tensor(5))
        (slope,) = torch.autograd.grad(h[-1].sum(), c)
        assert bool((slope.abs() > 1e-6).all())


def test_a_condition_that_does_not_fit_is_refused() -> None:
    """None where one is needed, one where none is, another width, a source sequence."""
    path = recurrent(1, 2, condition_dim=3)
    for condition in ((), torch.zeros(4, 2)):
        with pytest.raises(InputError, match=r"`condition`: expected vectors \(\*batch, 3\)"):
            path.start((4,), condition)
    with pytest.raises(InputTypeError, match="condition"):
        path.start((4,), {"source": torch.zeros(4, 3)})
    with pytest.raises(InputError, match="condition_dim=0"):
        recurrent(1, 2).start((4,), torch.zeros(4, 3))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("normed", [False, True])
def test_recurrent_weights_begin_orthogonal(cell: str, normed: bool) -> None:
    """Gate by gate, in every layer; gated cells begin by remembering; biases are zero."""
    path: Any = recurrent(3, 6, cell, layers=2, layer_norm=normed, dtype=F64)
    found = dict(path.named_parameters())
    back = [w for n, w in found.items() if "weight_hh" in n or "recurrent" in n]
    assert len(back) == 2
    for weight in back:
        for block in weight.split(6):
            close(block @ block.mT, torch.eye(6, dtype=F64))
    for name, bias in found.items():
        if "bias" in name:
            wanted = torch.zeros_like(bias)
            if cell != "rnn" and ("bias_ih" in name or "norm_x" in name):
                wanted[6:12] = 1.0
            assert torch.equal(bias, wanted), name


def test_an_unknown_cell_is_refused() -> None:
    """By a sentence that names the known ones."""
    with pytest.raises(InputError, match='`cell`: expected one of "rnn", "lstm", "gru"'):
        recurrent(1, 2, "lsmt")


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_elmans_derivatives(activation: str) -> None:
    """First and second derivatives of the scan are those of differences."""
    g = torch.Generator().manual_seed(4)
    sizes = [(2, 3, 2), (2, 4), (4, 2), (4, 4), (4,), (4,)]
    x, start, *weights = [
        torch.randn(size, dtype=F64, generator=g).requires_grad_() for size in sizes
    ]

    def scan(x: Tensor, start: Tensor, *weights: Tensor) -> Tensor:
        return elman(x, start, list(weights), activation)

    assert torch.autograd.gradcheck(scan, (x, start, *weights))
    assert torch.autograd.gradgradcheck(scan, (x, start, *weights))
