"""The compiled filter: the numbers of the plain one, from loops without densities.

Random numbers are torch's, drawn for many rows at once in the order of the plain loop: for each row
those of the selection, then the noise of all particles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from statespace import kernels
from statespace.inference.particle.declared import Declared, declared
from statespace.inference.particle.noise import WIDTH, Noise
from statespace.inference.particle.select import DEFENCE, Selection
from statespace.inference.particle.stochastic import ParticleBelief
from statespace.interface import State
from statespace.kernels.particle_tables import SCHEMES, How, Swarm, Told
from statespace.sequences import Sequences

__all__ = ["Run", "run"]

_CHUNK = 2**17  # random numbers drawn at once, if a row has no more
_WORK = 64  # products for a particle and a row, about


@dataclass(frozen=True)
class Run:
    """What came of all rows.

    Attributes:
        told: As the kernel left it, (series, T, ...).
        state: After the last row.
        problem: The arrays of the model and of the data.
    """

    told: Told
    state: State
    problem: Declared


def run(
    model: Any,
    data: Sequences,
    state: State,
    how: Selection,
    *,
    moments: bool = False,
    held: bool = False,
    weights: bool = False,
    problem: Declared | None = None,
) -> Run | None:
    """Filters all rows; None where the plain loop has to, and nothing is drawn then.

    Args:
        model: The model.
        data: The data.
        state: Of K particles; torch's generator is lent.
        how: Proposal, scheme and threshold.
        moments: Whether moments are wanted.
        held: Whether ancestors and points are.
        weights: Whether log weights are, and points.
        problem: The arrays, if they are there.
    """
    if how.proposal not in ("bootstrap", "auxiliary") or data.T == 0:
        return None
    problem = declared(model, data, state.t) if problem is None else problem
    if problem is None:
        return None
    before = state.generator.get_state()
    belief: Any = state.belief
    swarm = _swarm(belief, problem)
    told = _told(problem, len(belief.log_weights), moments, held, held or weights, weights)
    if not _all_rows(problem, belief, how, state, swarm, told, int(data.lengths.max())):
        state.generator.set_state(before)
        return None
    after = replace(state, t=state.t + data.T, belief=_belief(swarm, belief, problem))
    return Run(told, after, problem)


def _all_rows(
    problem: Declared, belief: Any, how: Selection, state: State, swarm: Swarm, told: Told, T: int
) -> bool:
    """Fills what is told; whether all weights were numbers."""
    num, series = len(belief.log_weights), len(problem.seen.y)
    bad, lanes = np.zeros(series, np.int64), kernels.Lanes(WIDTH)
    defence = DEFENCE if how.proposal == "auxiliary" else -1.0
    enough = how.threshold * num * (1 + 1e-9) if how.threshold > 0 else -1.0
    skip = 0 if how.threshold == 0 else series * (1 if how.scheme == "systematic" else num)
    noise, done = Noise(num, series, state.generator), 0
    while done < T:
        fresh = state.t + done == 0
        columns = (problem.net.spread if fresh else problem.net.q).shape[-1]
        head, size = 0 if fresh else skip, num * series * columns
        rows = 1 if fresh else min(T - done, max(1, _CHUNK // (head + size)))
        draws, normal = noise.rows(rows, head, columns)
        picking = How(num, enough, SCHEMES[how.scheme], -1 if fresh else head, defence)
        given = (lanes, problem.net, problem.seen, picking, swarm, draws, normal, done)
        kernels.spread(_piece(given, told, bad), series, rows * size * _WORK)
        if bad.any():
            return False
        done += rows
    return True


def _piece(given: tuple[Any, ...], told: Told, bad: Any) -> Callable[[int, int], None]:
    """Some of the series."""

    def piece(low: int, high: int) -> None:
        loop = kernels.filter_particles
        kernels.quick("filter_particles", loop, *given, low, high, told, bad)

    return piece


def _swarm(belief: Any, problem: Declared) -> Swarm:
    """Particles in blocks."""
    num, n = len(belief.log_weights), problem.net.a.shape[-1]
    series = len(problem.seen.y)
    blocks = -(-num // WIDTH)
    z = belief.z.detach().reshape(num, series, n).numpy()
    points = np.zeros((series, blocks * WIDTH, n))
    points[:, :num] = z.transpose(1, 0, 2)
    x = np.zeros((series, 2, blocks * n * WIDTH))
    turned = points.reshape(series, blocks, WIDTH, n).transpose(0, 1, 3, 2)
    x[:, 0] = turned.reshape(series, -1)
    log_weight = np.full((series, blocks * WIDTH), -np.inf)
    log_weight[:, :num] = belief.log_weights.detach().reshape(num, series).numpy().T
    weight = np.exp(log_weight)
    size = 1 / (weight**2).sum(-1)
    return Swarm(x, log_weight, weight, np.zeros(series), size, np.zeros(series, np.int64))


def _belief(swarm: Swarm, old: Any, problem: Declared) -> ParticleBelief:
    """The same as a belief."""
    num, n, series = len(old.log_weights), problem.net.a.shape[-1], len(swarm.x)
    x = swarm.x[np.arange(series), swarm.side].reshape(series, -1, n, WIDTH)
    points = x.transpose(1, 3, 0, 2).reshape(-1, series, n)[:num]
    z = torch.from_numpy(np.ascontiguousarray(points)).reshape(old.z.shape)
    weights = np.ascontiguousarray(swarm.log_weight[:, :num].T - swarm.off)
    log_weights = torch.from_numpy(weights).reshape(old.log_weights.shape)
    return ParticleBelief(z, log_weights, old.space, False)


def _told(
    problem: Declared, num: int, moments: bool, ancestors: bool, points: bool, weights: bool
) -> Told:
    series, T, m = problem.seen.y.shape
    n = problem.net.a.shape[-1]

    def made(wanted: bool, *event: int) -> NDArray[Any]:
        return np.zeros((series, T if wanted else 0, *event))

    kept = np.full((series, T if ancestors else 0, num), -1, np.int32)
    return Told(
        made(True), made(True), made(moments, n), made(moments, n, n), made(moments, n),
        made(moments, n, n), made(moments, m), made(moments, m, m), kept,
        made(points, num, n), made(weights, num),
    )  # fmt: skip
