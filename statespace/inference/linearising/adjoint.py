"""The likelihood of compiled loops with its hand-written gradient.

The extended filter linearises where its means are, which every parameter moves; the recursion is
derived in docs/nonlinear-numerics.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace.inference.lineargaussian.backward import fit_to
from statespace.inference.lineargaussian.likelihood import Once
from statespace.inference.linearising.posed import Posed
from statespace.interface import Network
from statespace.kernels import Score

__all__ = ["HELD", "likelihood"]

HELD = 16  # rows from one belief that is kept to the next


def likelihood(value: NDArray[Any], marks: NDArray[Any], posed: Posed, net: Network) -> Tensor:
    """The log-likelihood, (*batch,), differentiable once in every array of the network.

    Args:
        value: Log-likelihoods, (1, series).
        marks: Beliefs that the filter left, every `HELD` rows.
        posed: The problem.
        net: The network with its graph.
    """
    moves, reads, first = net.dynamics, net.readout, posed.task.belief
    if posed.task.absorbed == 0:
        first = net.prior
    out: Tensor = _Likelihood.apply(
        moves.weight, moves.bias, moves.noise.matrix, reads.weight, reads.bias,
        reads.noise.matrix, first.mean, first.covariance.matrix,
        (posed, posed.back(value), marks),
    )  # fmt: skip
    return out


class _Likelihood(torch.autograd.Function):
    """Forward: what the filter found. Backward: the adjoint of the filter."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        ctx.posed, value, ctx.marks = args[-1]
        ctx.save_for_backward(*args[:-1])
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        with torch.no_grad():
            parts = _gradient(ctx.posed, ctx.marks, grads[0], inputs)
        if torch.is_grad_enabled():
            parts = tuple(Once.apply(p, *inputs) for p in parts)
        return (*parts, None)


def _gradient(
    posed: Posed, marks: NDArray[Any], weight: Tensor, like: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Of the weighted sum over series, in the shapes of the inputs."""
    n, m, series, tasks = posed.n, posed.m, posed.series, posed.tasks
    own = weight.detach().double().reshape(1, series).contiguous().numpy()
    flat = (n * n, n * (n + 1) // 2, m * n, m * (m + 1) // 2)
    rows = (_rows(posed.model.b), _rows(posed.model.d))
    sizes: list[tuple[int, ...]] = [(tasks, 1, size) for size in flat]
    sizes += [(series, rows[0], n), (series, rows[1], m), (series, n), (series, n, n)]
    score = Score._make((own, *(np.zeros((1, *size)) for size in sizes)))
    posed.run("score_network", HELD, marks, score)
    a, q, c, r = (torch.from_numpy(x).sum((0, 1, 2)) for x in score[1:5])
    varies = "bias" in posed.net.dynamics.varies, "bias" in posed.net.readout.varies
    b, d = (_bias(posed, x, v) for x, v in zip(score[5:7], varies, strict=True))
    first = (posed.task.batch + x.shape[2:] for x in score[7:])
    mean, cov = (torch.from_numpy(x).reshape(s) for x, s in zip(score[7:], first, strict=True))
    found = (a.reshape(n, n), b, _full(q, n), c.reshape(m, n), d, _full(r, m), mean, cov)
    return tuple(fit_to(x.to(v.dtype), v) for x, v in zip(found, like, strict=True))


def _rows(bias: NDArray[Any]) -> int:
    return int(bias.shape[2])


def _bias(posed: Posed, x: NDArray[Any], varies: bool) -> Tensor:
    """(1, series, rows, size) -> (*batch, [rows,] size)."""
    found = torch.from_numpy(x).reshape((*posed.task.batch, *x.shape[2:]))
    return found if varies else found[..., 0, :]


def _full(packed: Tensor, size: int) -> Tensor:
    """From twice the lower triangle of a symmetric gradient."""
    low, high = torch.tril_indices(size, size)
    full = packed.new_zeros(size, size)
    full[low, high] = packed
    full[high, low] = packed
    return 0.5 * full
