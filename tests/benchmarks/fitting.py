"""Whole fits: where the time of one goes, and one beside a peer's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

import statespace as ss

from .problems import Array, ordinary
from .table import GREEN, MISSED, ratio, table
from .timing import interleaved

_NEAR = 1e-3  # nats between two fits that have found the same optimum
_TWINS = 1e-6  # relative difference between two histories of EM (see `Dynamax.rounding`)
_REPEATS = 3
# What a fit consists of, and what does it; nothing of one is inside another.
_STAGES = {
    "door": "statespace.interface.fitting.read",
    "start values": "statespace.LDS.start_values",
    "E-step": "statespace.learning.em._expect",
    "M-step": "statespace.learning.em._maximise",
    "polish": "statespace.learning.em.polish",
}
Say = Callable[[str], None]


def profile(say: Say, *, tiny: bool = False) -> str:
    """The share of each stage in fits with the default settings."""
    sizes = {
        "one series, T = 500, n = m = 4": ordinary(4, 4, 50 if tiny else 500).y,
        "panel, n = 4, m = 16": ordinary(4, 16, 20 if tiny else 1000, series=4 if tiny else 256).y,
    }
    rows = []
    for name, y in sizes.items():
        say(f"profile: {name}")
        ss.LDS(4, y.shape[-1]).fit(y[..., :20, :], learner=ss.EM(max_iter=2), seed=0)  # warm
        with _clocks() as spent:
            begin = time.perf_counter()
            ss.LDS(4, y.shape[-1]).fit(y, seed=0)
            whole = time.perf_counter() - begin
        spent["the rest"] = whole - sum(spent.values())
        shape = " x ".join(map(str, y.shape))
        rows.append([f"{name} ({shape})", *(f"{100 * s / whole:.1f} %" for s in spent.values())])
    return table(("one fit", *_STAGES, "the rest"), rows)


@contextmanager
def _clocks() -> Iterator[dict[str, float]]:
    """Seconds inside each stage, while the block runs."""
    spent = dict.fromkeys(_STAGES, 0.0)

    def timed(stage: str, f: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return f(*args, **kwargs)
            finally:
                spent[stage] += time.perf_counter() - begin

        return call

    with ExitStack() as stack:
        for stage, path in _STAGES.items():
            place, name = path.rsplit(".", 1)
            owner = ss.LDS if place.endswith("LDS") else sys.modules[place]
            stack.enter_context(patch.object(owner, name, timed(stage, getattr(owner, name))))
        yield spent


def fits(absent: Mapping[str, str], say: Say, *, tiny: bool = False) -> str:
    """Ratios of whole fits."""
    rows = []
    if "dynamax" not in absent:
        rows.append(_em(say, *((24, 20, 3) if tiny else (256, 1000, 50))))
    if "statsmodels" not in absent:
        rows.append(_structural(say, *((60, 1) if tiny else (500, _REPEATS))))
    header = ("", "fit", "peer", "at least", "ratio", "log-likelihood less the peer's")
    return table(header, rows)


def _em(say: Say, series: int, rows: int, steps: int) -> list[str]:
    """Fresh processes, in turns."""
    name = f"{steps} iterations of EM, {series} series, T = {rows}, n = 4, m = 16, end to end"
    say(f"fits: {name}")
    best, ends = {}, {}
    for _ in range(_REPEATS):
        for library in ("statespace", "dynamax"):
            sizes = map(str, (series, rows, steps))
            command = [sys.executable, "-m", "tests.benchmarks.em_fit", library, *sizes]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            best[library] = min(found["seconds"], best.get(library, np.inf))
            ends[library] = np.array(found["history"][:steps])
    gap = ends["statespace"] - ends["dynamax"]
    same = bool(np.all(np.abs(gap) <= _TWINS * np.abs(ends["dynamax"])))
    return _row(name, "dynamax", 5.0, best["dynamax"] / best["statespace"], gap[-1], same)


def _structural(say: Say, rows: int, repeats: int) -> list[str]:
    """A local trend and a damped cycle, n = 4, exact diffuse start, each from its own start."""
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    name = f"local trend, damped cycle and noise (n = 4), T = {rows}, defaults, to the optimum"
    say(f"fits: {name}")
    y = _trend_and_cycle(rows)
    words = {"level": "lltrend", "cycle": True, "stochastic_cycle": True, "damped_cycle": True}

    def theirs() -> float:
        model = UnobservedComponents(y, use_exact_diffuse=True, **words)
        return float(model.fit(disp=False, cov_type="none", maxiter=1000).llf)

    def ours() -> float:
        model = ss.LDS.local_trend() + ss.LDS.cycle()
        return float(model.fit(y, seed=0).log_likelihood)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on starting values and convergence
        gap = ours() - theirs()
        times = interleaved({"ours": ours, "theirs": theirs}, 0.0, repeats)
    return _row(name, "statsmodels", 2.0, times["theirs"] / times["ours"], gap, abs(gap) <= _NEAR)


def _row(name: str, peer: str, least: float, found: float, gap: float, same: bool) -> list[str]:
    mark = GREEN if found >= least and (same or gap > 0) else MISSED
    note = f"{gap:+.1e}" + ("" if same else ", another result")
    return [mark, name, peer, f"{least:g} x", ratio(found), note]


def _trend_and_cycle(rows: int) -> Array:
    g = np.random.default_rng(0)
    angle = 2 * np.pi / 15
    turn = 0.95 * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    level, slope, wave, y = 0.0, 0.0, np.zeros(2), []
    for _ in range(rows):
        level, slope = level + slope + 0.3 * g.normal(), slope + 0.05 * g.normal()
        wave = turn @ wave + g.normal(size=2)
        y.append(level + wave[0] + 0.7 * g.normal())
    return np.array(y)
