"""How fast each library is, as ratios within one run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import statespace as ss

from .libraries import Library
from .problems import Problem, ordinary, tanh_network, volatility
from .race import agreeing, enter, quick
from .table import GREEN, MISSED, RED, ratio, table
from .timing import interleaved


@dataclass(frozen=True)
class Race:
    """Work that every library is asked for.

    Attributes:
        peer: The library that is to be beaten, and `least` by which ratio at least; "" for none.
        tolerance: How nearly answers must agree, relative, where rounding is not all.
    """

    name: str
    size: str
    enter: Callable[[Library], dict[str, Callable[[], Any]]]
    peer: str = ""
    least: float = 0.0
    tolerance: float = 0.0


_LL, _MEANS, _BOTH = "log-likelihood", "smoothed means", "smoothed means and covariances"
_SLOPE = "log-likelihood and gradient in A, C, Q, R"
_SMALL = (
    ("log_likelihood", _LL, "statsmodels", 3.0),
    ("smooth", _BOTH, "dynamax", 3.0),
    ("gradient", _SLOPE, "dynamax", 8.0),
)
_SINGLE = (
    ("log_likelihood", _LL, "statsmodels", 10.0),
    ("smooth", _BOTH, "statsmodels", 8.0),
    ("gradient", _SLOPE, "", 0.0),
)
_GAPS = (("log_likelihood", _LL, "statsmodels", 5.0), ("smooth", _BOTH, "", 0.0))
_PANEL = (
    ("log_likelihood", _LL, "dynamax", 4.0),
    ("means", _MEANS, "dynamax", 2.5),
    ("gradient", _SLOPE, "dynamax", 10.0),
    ("em_step", "one iteration of EM in all parameters", "dynamax", 5.0),
)
_PANEL_GAPS = (
    ("log_likelihood", _LL, "statsmodels", 20.0),
    ("smooth", _BOTH, "statsmodels", 25.0),
)
_NETWORK = (
    ("extended_filter", "extended filter: means and covariances", "dynamax", 1.0),
    ("extended_smooth", "extended smoother: means and covariances", "dynamax", 1.0),
    ("unscented_filter", "unscented filter: means and covariances", "dynamax", 1.0),
    ("extended_gradient", "extended log-likelihood and gradient in A", "dynamax", 1.0),
)


def races(tiny: bool) -> Iterator[Race]:
    """Every row of the table."""
    T, series, rows = (200, 24, 20) if tiny else (10_000, 256, 1000)
    single = f"one series, T = {T}, n = m = 4"
    panel = f"{series} series, T = {rows}, n = 8, m = 16"
    gaps = ", 10 % of entries missing"
    yield from _races(_SMALL, "one series, T = 100, n = m = 1", ordinary(1, 1, 100))
    yield from _races(_SINGLE, single, ordinary(4, 4, T))
    yield from _races(_GAPS, single + gaps, ordinary(4, 4, T, missing=0.1))
    yield from _races(_PANEL, panel, ordinary(8, 16, rows, series=series))
    yield from _races(_PANEL_GAPS, panel + gaps, ordinary(8, 16, rows, series=series, missing=0.1))
    yield from _particles(tiny)
    few, many, series = (100, 20, 8) if tiny else (1000, 500, 64)
    one = f"tanh network, one series, T = {few}, n = 8, m = 4"
    yield from _races(_NETWORK, one, tanh_network(8, 4, few))
    some = f"tanh network, {series} series, T = {many}, n = 16, m = 8"
    yield from _races(_NETWORK, some, tanh_network(16, 8, many, series=series))
    nile = ss.datasets.nile().numpy()
    yield Race(
        "fit of the local level, diffuse start",
        "Nile, T = 100",
        lambda x: x.fit_level(nile),
        tolerance=1e-6,
    )


def _races(works: tuple[tuple[str, str, str, float], ...], size: str, p: Problem) -> Iterator[Race]:
    for verb, name, peer, least in works:
        near = 1e-6 if verb == "gradient" else 0.0  # statsmodels takes complex steps
        yield Race(name, size, lambda x, verb=verb: getattr(x, verb)(p), peer, least, near)


def _particles(tiny: bool) -> Iterator[Race]:
    """Estimates, which agree to a hundredth: more than three of their standard deviations."""
    T, short, few, many = (50, 20, 100, 200) if tiny else (1000, 250, 1000, 10_000)
    for num in (few, many):
        yield _volatility(T, num, None, 1.0, True)
        yield _volatility(short, num, 64, 3.0, True)
    yield _volatility(short, few, 16, 1.0, False)


def _volatility(T: int, num: int, series: int | None, least: float, declared: bool) -> Race:
    p = volatility(T, num, series)
    name = f"stochastic volatility, {num} particles" + ("" if declared else ", own densities")
    size = f"{'one' if series is None else series} series, T = {T}"

    def enter(library: Library) -> Any:
        return library.particles(p, declared=declared)

    return Race(name, size, enter, "particles", least, 0.01 if T > 100 else 0.2)


def run(
    ours: Library,
    peers: list[Library],
    seconds: float,
    say: Callable[[str], None],
    *,
    tiny: bool = False,
) -> str:
    """The table; `seconds` is the time to spend on each row."""
    rows = []
    for race in races(tiny):
        say(f"speed: {race.name}, {race.size}")
        rows.append(_row(race, ours, peers, seconds))
        say("       " + " | ".join(rows[-1]))
    return table(["", "work", "size", "at least", *(peer.name for peer in peers)], rows)


def _row(race: Race, ours: Library, peers: list[Library], seconds: float) -> list[str]:
    calls: dict[tuple[str, str], Callable[[], Any]] = {}
    cells: dict[str, str] = {}
    truth: Any = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer's remarks are not what is measured
        for library in (ours, *peers):
            answers, cells[library.name] = enter(lambda x=library: race.enter(x))
            if library is ours and answers:
                truth = next(iter(answers.values()))[1]
            same = agreeing(answers, truth, max(race.tolerance, library.rounding))
            if answers and not same:
                cells[library.name] = "(ours failed)" if truth is None else "(another result)"
            calls |= {(library.name, k): call for k, call in quick(same).items()}
        times = interleaved(calls, seconds)
    best: dict[str, float] = {}
    for (name, _), took in times.items():
        best[name] = min(took, best.get(name, math.inf))
    own = best.pop(ours.name, math.inf)
    cells |= {name: ratio(took / own) for name, took in best.items()}
    asked = f"{race.least:g} x {race.peer}" if race.peer else ""
    mark = _mark(race, best, own)
    return [mark, race.name, race.size, asked, *(cells[peer.name] for peer in peers)]


def _mark(race: Race, best: dict[str, float], own: float) -> str:
    if math.isinf(own) or (race.peer in best and best[race.peer] < race.least * own):
        return MISSED
    if race.peer and race.peer not in best:
        return f"{RED} not measured"
    return "" if not best else RED if min(best.values()) < own else GREEN
