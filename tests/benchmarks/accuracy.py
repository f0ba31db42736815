"""How far each library is from arithmetic with sixty digits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import statespace as ss

from ..oracles import DenseOracle
from .libraries import Library, NotOffered
from .problems import Problem, grewal_andrews, nile, ordinary, wide_prior
from .table import RED, error, table

FAILURES = (ArithmeticError, ValueError, TypeError, IndexError, RuntimeError, AssertionError)
_BOUND = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 1e-3}


@dataclass(frozen=True)
class Case:
    """A problem, what is asked, and the distance of an answer from the truth."""

    name: str
    problem: Problem
    verb: str  # of `Library`
    truth: Any
    distance: Callable[[Any, Any], float]


def _nats(value: Any, truth: Any) -> float:
    return abs(float(value) - truth)


def _means(value: Any, truth: Any) -> float:
    return float(np.abs(value.mean - truth.mean).max() / np.abs(truth.mean).max())


def _covs(value: Any, truth: Any) -> float:
    scale = np.abs(truth.cov).max((1, 2), keepdims=True)
    return float((np.abs(value.cov - truth.cov) / scale).max())


def oracle(p: Problem, digits: int | None = 60) -> DenseOracle:
    """The joint Gaussian of everything; in float64 where `digits` is None."""
    flat = np.ones(p.n, dtype=bool) if p.diffuse else None
    zeros = (np.zeros(p.n), np.zeros(p.m))
    return DenseOracle(
        p.y, p.A, zeros[0], p.Q, p.C, zeros[1], p.R, p.m1, p.P1, diffuse=flat, digits=digits
    )


def cases() -> Iterator[Case]:
    """Every row of the table."""

    def likelihood(name: str, p: Problem, digits: int | None = 60) -> Case:
        return Case(name, p, "log_likelihood", oracle(p, digits).log_likelihood(), _nats)

    for e in (1e-4, 1e-6, 1e-8):
        yield likelihood(f"Grewal-Andrews update, e = {e:.0e}", grewal_andrews(e))
    single = grewal_andrews(1e-4).cast(np.float32)
    yield likelihood("Grewal-Andrews update, e = 1e-04, float32", single)
    usual = ordinary(2, 2, 10)
    yield likelihood("an ordinary model", usual)
    for c in (1e-8, 1e-4, 1e4, 1e8):
        yield likelihood(f"the same, data times {c:.0e}", usual.scaled(c))
    yield likelihood("the same, a fifth of the entries missing", ordinary(2, 2, 10, missing=0.2))
    wide = wide_prior()
    yield likelihood("prior 1e12, noise 1e-4 and 1e-6", wide)
    smoothed = oracle(wide).smoothed()
    yield Case("the same, smoothed means", wide, "smooth", smoothed, _means)
    yield Case("the same, smoothed covariances", wide, "smooth", smoothed, _covs)
    # Well conditioned, and too long for sixty digits.
    level = nile(ss.datasets.nile().numpy())
    yield likelihood("Nile, local level, diffuse", level, digits=None)


def run(libraries: list[Library], say: Callable[[str], None]) -> str:
    """The table."""
    rows = []
    for case in cases():
        say(f"accuracy: {case.name}")
        bound = _BOUND[case.problem.dtype]
        rows.append([case.name, *(_cell(case, library, bound) for library in libraries)])
    return table(["case", *(library.name for library in libraries)], rows)


def _cell(case: Case, library: Library, bound: float) -> str:
    try:
        calls = getattr(library, case.verb)(case.problem)
    except NotOffered as reason:
        return f"({reason})"
    texts = {}
    found = {setting: _distance(call, case) for setting, call in calls.items()}
    for setting, value in found.items():
        texts[setting] = value if isinstance(value, str) else error(value, bound)
    numbers = {k: v for k, v in found.items() if not isinstance(v, str) and not math.isnan(v)}
    default = next(iter(found))
    best = min(numbers, key=numbers.__getitem__, default=default)
    if texts[best].startswith(RED) or not texts[default].startswith(RED):
        return texts[best]
    return f"{texts[best]} with {best} (else {texts[default]})"


def _distance(call: Callable[[], Any], case: Case) -> float | str:
    """How far off, or the name of the exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer's own complaints about a hard case
        try:
            return case.distance(call(), case.truth)
        except FAILURES as problem:
            return f"{RED} {type(problem).__name__}"
