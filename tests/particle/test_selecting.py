"""Which particles the compiled selection takes: against a search through cumulative weights.

Would catch: a position that is shifted the wrong way, one off at a rung, uniform numbers read at
the wrong stride, copies that rounding takes from equal weights, a remainder that is not rescaled.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest

from statespace.kernels.memory import span
from statespace.kernels.particle_tables import SCHEMES
from statespace.kernels.selecting import select


@numba.njit
def run(scheme, weights, uniform, step, ladder, table, out):
    num = weights.size
    select(
        scheme, span(weights, 0), num, span(uniform, 0), step, span(ladder, 0), span(table, 0),
        span(out, 0),
    )  # fmt: skip


def chosen(scheme: str, weights: np.ndarray, uniform: np.ndarray, step: int = 1) -> np.ndarray:
    """Ancestors, as the loops choose them."""
    num = len(weights)
    out = np.empty(num + 1, np.int64)
    room = np.empty(num), np.empty(num, np.int64)
    run(SCHEMES[scheme], weights, uniform, step, *room, out)
    return out[:num]


def search(weights: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The first particle at which the cumulative weight exceeds a share of all of it."""
    ladder = np.cumsum(weights)
    found = [int(np.argmax(ladder > p * ladder[-1])) for p in positions]
    return np.array(found)


def oracle(scheme: str, weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """One position after the other."""
    num = len(weights)
    if scheme == "systematic":
        return search(weights, (np.arange(num) + uniform[0]) / num)
    if scheme == "stratified":
        return search(weights, (np.arange(num) + uniform) / num)
    if scheme == "multinomial":
        return search(weights, uniform)
    copies = np.floor(num * weights).astype(int)
    sure = np.repeat(np.arange(num), copies)
    return np.concatenate([sure, search(num * weights - copies, uniform[len(sure) :])])


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("num", [1, 2, 7, 64, 500])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_ancestors_are_those_of_a_search(scheme: str, num: int, step: int) -> None:
    """Uneven weights, some of them zero; uniform numbers side by side and apart."""
    r = np.random.default_rng(num)
    weights = r.random(num) ** 4 * (r.random(num) < 0.8)
    weights[num // 2] += 0.1
    weights /= weights.sum()
    apart = r.random((num, step))
    found = chosen(scheme, weights, apart.ravel(), step)
    np.testing.assert_array_equal(found, oracle(scheme, weights, apart[:, 0]))


@pytest.mark.parametrize("num", [3, 7, 49, 98, 103, 500])
def test_equal_weights_are_a_copy_of_each(num: int) -> None:
    """Although K (1 / K) may lie below one: nothing is left to chance."""
    weights = np.full(num, 1.0 / num)
    found = chosen("residual", weights, np.full(num, 0.999))
    np.testing.assert_array_equal(found, np.arange(num))
