"""Tables that kernels fill with a gradient, and the gradient in the shapes of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace.inference.lineargaussian.backward import fit_to
from statespace.inference.lineargaussian.layout import Layout
from statespace.inference.lineargaussian.system import System
from statespace.kernels import Score, Second, Smooth

__all__ = ["NO_SECOND", "gradients", "no_moments", "no_score", "score_tables"]

NO_SECOND = Second(
    np.empty((1, 0), np.int64),
    np.empty((1, 0, 0)),
    np.empty((1, 0, 0)),
    np.empty((1, 0, 0)),
    np.empty((1, 0, 0, 0)),
)


def no_moments(n: int, number: Any) -> Smooth:
    """Where no smoothed moments are wanted."""
    return Smooth(
        np.empty((1, 0, 0, 0), number),
        np.empty((1, 0, 0, 0, 0), number),
        np.empty((1, 0, 0, 0, 0), number),
        np.empty((1, 1, n, n), number),
    )


def no_score(series: int) -> Score:
    """Where no gradient is wanted."""
    flat, rows = np.empty((1, 1, 1, 0)), np.empty((1, series, 1, 0))
    ends = np.empty((1, series, 0)), np.empty((1, series, 0, 0))
    return Score(np.empty((1, 0)), flat, flat, flat, flat, rows, rows, *ends)


def score_tables(weight: NDArray[Any], blocks: int, n: int, m: int, rows: dict[str, int]) -> Score:
    """Zeros to add gradients to; `rows` says how many rows of each parameter there are."""
    sets, series = weight.shape
    return Score(
        weight,
        np.zeros((sets, blocks, rows["A"], n * n)),
        np.zeros((sets, blocks, rows["Q"], n * (n + 1) // 2)),
        np.zeros((sets, blocks, rows["C"], m * n)),
        np.zeros((sets, blocks, rows["R"], m * (m + 1) // 2)),
        np.zeros((sets, series, rows["b"], n)),
        np.zeros((sets, series, rows["d"], m)),
        np.zeros((sets, series, n)),
        np.zeros((sets, series, n, n)),
    )


def gradients(
    layout: Layout, system: System, scores: Sequence[Score], like: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The sum of gradients, in the order and the shapes of the arguments of the likelihood.

    Args:
        layout: Of the problem.
        system: The system, detached.
        scores: The first with every series; the others, of what all series share, with one.
        like: The arguments of the likelihood, see `backward.score`.
    """
    n, m = system.n, system.m

    def shared(name: str, *event: int) -> Tensor:
        total = sum(torch.from_numpy(getattr(score, name)).sum(1) for score in scores)
        assert isinstance(total, Tensor)
        return layout.back_sets(total.reshape(*total.shape[:2], *event))

    def triangle(name: str, size: int) -> Tensor:
        low, high = torch.tril_indices(size, size)
        packed = shared(name, size * (size + 1) // 2)
        full = packed.new_zeros(*packed.shape[:-1], size, size)
        full[..., low, high] = packed
        full[..., high, low] = packed
        return 0.5 * full

    first = scores[0]
    db, dd, mean = (layout.back(torch.from_numpy(x)) for x in (first.b, first.d, first.mean))
    for rest in scores[1:]:  # weighted with the sum over series already: it may stand with any one
        first.cov[:, :1] += rest.cov
    cov = layout.back(torch.from_numpy(first.cov))
    if system.prior.diffuse is not None:
        proper = (~system.prior.diffuse).to(mean)
        mean, cov = mean * proper, cov * proper[:, None] * proper
    whole = {
        "A": (shared("a", n, n), 2),
        "b": (db, 1),
        "Q": (triangle("q", n), 2),
        "C": (shared("c", m, n), 2),
        "d": (dd, 1),
        "R": (triangle("r", m), 2),
    }
    out = [
        fit_to(-dd, like[0]) if like[0].requires_grad else like[0].new_zeros(()).expand_as(like[0])
    ]
    for i, name in enumerate(("A", "b", "Q", "C", "d", "R"), start=1):
        x, rank = whole[name]
        if name not in system.varies:
            x = x.sum(-rank - 1)
        out.append(fit_to(x, like[i]))
    return tuple(
        x.to(v.dtype)
        for x, v in zip([*out, fit_to(mean, like[7]), fit_to(cov, like[8])], like, strict=True)
    )
