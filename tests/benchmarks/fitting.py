"""Whole fits: where the time of one goes, and one beside a peer's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
    "door": ("statespace.interface.fitting.read",),
    "start values": ("statespace.LDS.start_values",),
    "E-step": ("statespace.learning.em_climb.expect", "statespace.learning.em_climb.tried"),
    "M-step": ("statespace.learning.em_climb.maximise",),
    "polish": ("statespace.learning.em.polish",),
}
Say = Callable[[str], None]


def profile(say: Say, *, tiny: bool = False) -> str:
    """The share of each stage in fits with the default settings."""
    long, few = (50, 20) if tiny else (500, 1000)
    series = 4 if tiny else 256
    fits: dict[str, tuple[Array, Callable[[], ss.LDS]]] = {
        f"local trend, cycle and noise, T = {long}": (_trend_and_cycle(long), _trend_cycle),
        f"n = m = 4, T = {long}": (ordinary(4, 4, long).y, lambda: ss.LDS(4, 4)),
        f"n = 8, m = 16, {series} series, T = {few}": (
            ordinary(8, 16, few, series=series).y,
            lambda: ss.LDS(8, 16),
        ),
    }
    rows = []
    for name, (y, make) in fits.items():
        say(f"profile: {name}")
        make().fit(y if y.ndim < 3 else y[:2], seed=0)  # compiles what is not compiled yet
        model = make()
        with _clocks() as spent:
            begin = time.perf_counter()
            fit = model.fit(y, seed=0)
            whole = time.perf_counter() - begin
        spent["the rest"] = whole - sum(spent.values())
        shares = (f"{100 * s / whole:.1f} %" for s in spent.values())
        rows.append([name, str(model.num_params), str(len(fit.history) - 1), *shares])
    return table(("one fit", "learned", "steps", *_STAGES, "the rest"), rows)


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
        for stage, path in ((stage, p) for stage, paths in _STAGES.items() for p in paths):
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
        rows += [_whole(say, fit, 1 if tiny else _REPEATS) for fit in _wholes(60 if tiny else 500)]
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


@dataclass(frozen=True)
class _Whole:
    """One model in both languages, fitted with the defaults of each from its own start.

    Attributes:
        peer: what `UnobservedComponents` is given, or `SARIMAX` where it names an order.
        least: the ratio that is aimed at.
    """

    name: str
    y: Array
    make: Callable[[], ss.LDS]
    peer: dict[str, Any]
    least: float = 1.0


def _wholes(rows: int) -> Iterator[_Whole]:
    g = np.random.default_rng(0)
    walk = np.cumsum(0.5 * g.normal(size=rows)) + g.normal(size=rows)
    yield _Whole("local level", walk, _level, {"level": "llevel"})
    trend = np.cumsum(0.3 * g.normal(size=rows) + np.cumsum(0.05 * g.normal(size=rows)))
    trend += 0.7 * g.normal(size=rows)
    smooth = {"level": "strend"}  # the level itself has no noise
    yield _Whole("smooth trend", trend, _smooth_trend, smooth, 2.0)
    months = trend + 3 * np.sin(np.arange(rows) * np.pi / 6)
    words: dict[str, Any] = {"level": "lltrend", "seasonal": 12}
    yield _Whole("local trend and twelve seasons", months, _trend_seasons, words, 1.0)
    words = {"level": "lltrend", "cycle": True, "stochastic_cycle": True, "damped_cycle": True}
    yield _Whole(
        "local trend and damped cycle (n = 4)", _trend_and_cycle(rows), _trend_cycle, words, 2.0
    )
    x = np.zeros(rows + 2)
    for t in range(2, rows + 2):
        x[t] = 1.2 * x[t - 1] - 0.5 * x[t - 2] + g.normal()
    yield _Whole("AR(2)", x[2:], lambda: ss.LDS.arma(2), {"order": (2, 0, 0)})
    moving = x[2:] + 0.4 * x[1:-1]
    yield _Whole("ARMA(2, 1)", moving, lambda: ss.LDS.arma(2, 1), {"order": (2, 0, 1)})


def _level() -> ss.LDS:
    return ss.LDS.local_level().replace(R=None)


def _smooth_trend() -> ss.LDS:
    noise = ss.Param(np.zeros((2, 2)), free=np.diag([False, True]), start=False)
    return ss.LDS.local_trend().replace(Q=noise, R=None)


def _trend_seasons() -> ss.LDS:
    return ss.LDS.local_trend() + ss.LDS.seasonal(12)


def _trend_cycle() -> ss.LDS:
    return ss.LDS.local_trend() + ss.LDS.cycle()


def _whole(say: Say, fit: _Whole, repeats: int) -> list[str]:
    from statsmodels.tsa.statespace.sarimax import SARIMAX
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    name = f"{fit.name}, T = {len(fit.y)}, defaults, to the optimum"
    say(f"fits: {name}")

    def theirs() -> float:
        if "order" in fit.peer:
            model = SARIMAX(fit.y, **fit.peer)
        else:
            model = UnobservedComponents(fit.y, use_exact_diffuse=True, **fit.peer)
        return float(model.fit(disp=False, cov_type="none", maxiter=1000).llf)

    def ours() -> float:
        return float(fit.make().fit(fit.y, seed=0).log_likelihood)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on starting values and convergence
        gap = ours() - theirs()
        times = interleaved({"ours": ours, "theirs": theirs}, 0.0, repeats)
    ratio_found = times["theirs"] / times["ours"]
    return _row(name, "statsmodels", fit.least, ratio_found, gap, abs(gap) <= _NEAR)


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
