"""The particle filter of a model that is activations of affine maps, series by series."""

from __future__ import annotations

import numpy as np

from statespace.kernels.compiling import called, kernel
from statespace.kernels.lanes import width
from statespace.kernels.memory import hold, room, span
from statespace.kernels.particle_rows import row_places, settle_weights
from statespace.kernels.particle_steps import (
    Pick,
    fresh_places,
    go_on,
    go_on_alone,
    look_ahead,
    remain,
    sizes_of,
    tell,
    work_in,
)
from statespace.kernels.selecting import select

__all__ = ["filter_particles"]


@called
def pick_row(lanes, g, how, z, size, x, log_weight, weight, uniform, ladder, first, index, work):
    """Selects, if the effective size says so: whether it did, and by what particles promise.

    Ancestors stand at the beginning of `index`, and what `remain` says in `ladder`.
    """
    promised, num = how.defence >= 0 and g.seen, how.num
    if promised:
        size = look_ahead(lanes, g, how, z.n, z.m, z.blocks, x, log_weight, weight, work, first)
    if not size <= how.enough:
        return False, False
    step = z.series if how.skip > z.series else 0
    by = first if promised else weight
    table = span(index, num + 1)
    select(how.scheme, by, num, uniform, step, ladder, table, span(index, 0))
    if promised:
        remain(lanes, z.blocks, log_weight, first, ladder)
    return True, promised


@kernel
def filter_particles(lanes, net, seen, how, swarm, draws, noise, begin, low, high, told, bad):
    """Filters rows begin .. begin + len(draws) of series low .. high.

    Args:
        lanes: How many particles go side by side, eight.
        net, seen, how: See `Net`, `Seen`, `How`. Row 0 draws from the prior where `how.skip` is
            negative.
        swarm: In and out, see `Swarm`.
        draws: For each row, `how.skip` uniform numbers for the selection, and others.
        noise: For each row, standard normal numbers in blocks, (rows, series, blocks * r * 8).
        begin: The first of the rows.
        low, high: Series.
        told: Out, see `Told`.
        bad: Out, (series,): 1 where weights are no numbers, so that the series was left.
    """
    w, num = width(lanes), how.num
    z = sizes_of(lanes, net, seen, how)
    n, blocks = z.n, z.blocks
    memory = room((n + 3 * z.m + 1 + (2 * z.m + 3) * blocks) * w, np.float64)
    index = np.empty(2 * num + 1, np.int64)
    work, ladder, first = work_in(lanes, z, span(memory, 0))
    ancestors = span(index, 0)
    stride, tells, fresh = draws.shape[1], told.mean.shape[1] > 0, how.skip < 0
    # weights that nobody asks for stay as they are, and what normalises them is kept beside them
    lazy = not tells and how.defence < 0 and how.scheme != 3 and told.weights.shape[1] == 0
    alone = lazy and not fresh and n == 1 and z.m == 1 and z.r == 1
    for s in range(low, high):
        size, side, off = swarm.size[s], swarm.side[s], swarm.off[s]
        log_weight = span(swarm.log_weight, s * blocks * w)
        weight = span(swarm.weight, s * blocks * w)
        for row in range(draws.shape[0]):
            t = begin + row
            if t >= seen.lengths[s] or bad[s] > 0:
                break
            g = row_places(net, seen, s, t)
            if fresh:
                g = fresh_places(net, g, s)
            x = span(swarm.x, (2 * s + side) * blocks * n * w)
            new = span(swarm.x, (2 * s + 1 - side) * blocks * n * w)
            picked, promised = False, False
            if not fresh and how.enough >= 0:
                uniform = span(draws, row * stride + s)
                picked, promised = pick_row(
                    lanes, g, how, z, size, x, log_weight, weight, uniform, ladder, first, index,
                    work,
                )  # fmt: skip
            if told.ancestors.shape[1] > 0 and not picked:
                for k in range(num):
                    ancestors[k] = k
            normal = span(noise, (row * z.series + s) * blocks * z.r * w)
            if alone:
                most = go_on_alone(
                    lanes, g, how, blocks, picked, x, new, log_weight, off, ancestors, normal, work
                )  # fmt: skip
            else:
                pick = Pick(picked, promised, fresh, tells)
                most = go_on(
                    lanes, g, how, z, pick, x, new, log_weight, weight, off, ladder, ancestors,
                    normal, work,
                )  # fmt: skip
            increment, size, off = settle_weights(
                lanes, blocks, num, most, lazy, log_weight, weight, work
            )  # fmt: skip
            if increment != increment:
                bad[s] = 1
            told.increments[s, t], told.size[s, t] = increment, size
            side = 1 - side
            tell(lanes, told, s, t, z, num, new, weight, log_weight, ancestors, g, work)
        swarm.size[s], swarm.side[s], swarm.off[s] = size, side, off
    hold(memory)
    hold(index)
