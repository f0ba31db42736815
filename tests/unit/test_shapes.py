"""Shapes: broadcasting features, trees, resampling, padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from statespace.errors import InputError
from statespace.shapes import active_rows, align, gather, join, leaves, shift, tmap, where_tree


class Memory(NamedTuple):
    h: Any
    c: Any


@dataclass(frozen=True)
class Belief:
    mean: Tensor
    name: str = "normal"


@given(st.integers(0, 3), st.integers(0, 3), st.sampled_from([(), (1,), (4,), (2, 1), (2, 4)]))
def test_join_is_cat_after_broadcasting(k: int, p: int, leading: tuple[int, ...]) -> None:
    """Leading axes broadcast, features add up, zero-wide parts are nothing."""
    z, u = torch.randn(2, 4, k), torch.randn(*leading, p)
    joined = join(z, u)
    assert joined.shape == (2, 4, k + p)
    assert torch.equal(joined[..., :k], z)
    assert torch.equal(joined[..., k:], u.expand(2, 4, p))


def test_join_of_one_thing_is_that_thing() -> None:
    """Nothing is copied."""
    x = torch.ones(2, 3)
    assert join(x) is x


def test_align_appends_axes() -> None:
    """Broadcasting from the left."""
    assert align(torch.ones(2, 3), 4).shape == (2, 3, 1, 1)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_active_rows_counts_to_the_length(lengths: list[int]) -> None:
    """As many as the length, and they come first."""
    active = active_rows(torch.tensor(lengths), 6)
    assert active.sum(-1).tolist() == lengths
    assert torch.equal(active.int(), active.int().sort(-1, descending=True).values)


def test_shift_takes_the_row_before() -> None:
    """Row t is x_{t-1}, row 0 is what was given; integer data stay integers."""
    x = torch.arange(12).reshape(2, 3, 2)
    before = shift(x, torch.tensor([-1.0, -2.0]))
    assert before.dtype == torch.int64
    assert before[:, 0].tolist() == [[-1, -2], [-1, -2]]
    assert torch.equal(before[:, 1:], x[:, :-1])


TREES: list[Any] = [
    torch.ones(2),
    (),
    (torch.ones(2), None),
    Memory(torch.ones(2), [torch.ones(1)]),
    {"a": torch.ones(2), "b": (torch.ones(3), 7)},
    Belief(torch.ones(2)),
]


@pytest.mark.parametrize("tree", TREES, ids=lambda t: type(t).__name__)
def test_tmap_keeps_the_build(tree: Any) -> None:
    """The result has the type of the tree, and every tensor was met once, in order."""
    doubled = tmap(lambda a, b: a + b, tree, tree)
    assert type(doubled) is type(tree)
    assert [x.sum() * 2 for x in leaves(tree)] == [x.sum() for x in leaves(doubled)]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((torch.ones(1),), [torch.ones(1)]),
        ((torch.ones(1),), (torch.ones(1), torch.ones(1))),
        ({"a": torch.ones(1)}, {"b": torch.ones(1)}),
        ((torch.ones(1), None), (torch.ones(1), ())),
    ],
)
def test_tmap_refuses_trees_of_different_build(a: Any, b: Any) -> None:
    """In a sentence."""
    with pytest.raises(InputError, match="`tree`: expected"):
        tmap(torch.add, a, b)


def test_gather_takes_ancestors_series_by_series() -> None:
    """Sample n of series b is what its ancestor was, in every tensor, whatever its event."""
    num, batch = 4, 3
    h = torch.arange(num * batch * 2).reshape(num, batch, 2)
    k = torch.arange(num * batch).reshape(num, batch)
    ancestors = torch.tensor([[0, 1, 3], [0, 0, 3], [2, 1, 3], [3, 1, 0], [1, 1, 1]])
    new = gather(Memory(h, k), ancestors)
    assert new.h.shape == (5, batch, 2)
    for n in range(5):
        for b in range(batch):
            assert torch.equal(new.h[n, b], h[ancestors[n, b], b])
            assert new.c[n, b] == k[ancestors[n, b], b]


def test_gather_refuses_a_tensor_without_the_batch() -> None:
    """An axis is never guessed."""
    with pytest.raises(InputError, match="Expand it"):
        gather(torch.ones(4, 2), torch.zeros(4, 3, dtype=torch.int64))


def test_where_tree_chooses_from_the_left() -> None:
    """The mask has the leading axes of every tensor, however many follow; gradients are split."""
    active = torch.tensor([True, False])
    new = Memory(torch.ones(3, 2, 4, requires_grad=True), torch.ones(3, 2))
    old = Memory(torch.full((3, 2, 4), torch.nan), torch.zeros(3, 2))
    out = where_tree(active[None], new, old)
    assert bool(out.h[:, 0].eq(1).all())
    assert bool(out.h[:, 1].isnan().all())
    assert out.c.tolist() == [[1, 0]] * 3
    (grad,) = torch.autograd.grad(out.h[:, 0].sum(), new.h)
    assert grad[:, 0].eq(1).all()
    assert grad[:, 1].eq(0).all()
