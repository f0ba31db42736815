"""One fit in a process of its own: `python -m tests.benchmarks.em_fit LIBRARY SERIES T STEPS`.

Fifty iterations of EM are compared end to end, what has to be compiled or loaded on the way
included; only a fresh process has compiled nothing yet. Printed are seconds and log p(y) at each
iteration; imports are not counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from .problems import Problem, ordinary

N, M = 4, 16


def start_and_data(series: int, rows: int) -> Problem:
    """Data of one model, and the parameters of another to start from."""
    start = ordinary(N, M, 2, seed=1)
    return replace(start, y=ordinary(N, M, rows, series=series).y)


def _ours(p: Problem, steps: int) -> Callable[[], list[float]]:
    import statespace as ss

    def fit() -> list[float]:
        lds = ss.LDS(
            p.n,
            p.m,
            A=p.A,
            C=p.C,
            d=ss.Fixed(np.zeros(p.m)),
            Q=p.Q,
            R=p.R,
            initial_mean=p.m1,
            initial_cov=p.P1,
            initial="estimate",
        )
        learner = ss.EM(max_iter=steps, tol=0.0, polish=False)
        return [float(v) for v in lds.fit(p.y, learner=learner).history]

    return fit


def _dynamax(p: Problem, steps: int) -> Callable[[], list[float]]:
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)  # as it comes
    from .libraries.dynamax_ import em_model

    def fit() -> list[float]:
        model, start, props = em_model(p)
        y = jax.numpy.asarray(p.y)
        params, history = model.fit_em(start, props, y, num_iters=steps, verbose=False)
        jax.block_until_ready(params)
        return [float(v) for v in history]

    return fit


def main() -> None:
    """Runs and prints."""
    name, series, rows, steps = sys.argv[1], *map(int, sys.argv[2:])
    torch.set_num_threads(2)
    p = start_and_data(series, rows)
    fit = {"statespace": _ours, "dynamax": _dynamax}[name](p, steps)
    begin = time.perf_counter()
    history = fit()
    print(json.dumps({"seconds": time.perf_counter() - begin, "history": history}))


if __name__ == "__main__":
    main()
