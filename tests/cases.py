"""The table of cases: models with data. Each promise in `tests/promises/` runs over all of it.

A new model inherits every promise by adding its rows here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from oracles import DenseOracle

import statespace as ss

NAN = float("nan")


@dataclass(frozen=True)
class Case:
    """A model and data for it.

    Attributes:
        name: What is particular about it.
        make: Builds the model; called anew for each test.
        y: (*batch, T, m) numpy, NaN where not observed.
        u: Inputs (*batch, T + 4, p), four rows for forecasts, or None.
        lengths: Rows of each series, or None.
        oracle: The dense oracle of series i over rows of y (which may be longer than T).
    """

    name: str
    make: Callable[..., Any]
    y: Any
    u: Any = None
    lengths: Any = None
    oracle: Callable[[int, Any], DenseOracle] | None = None
    tags: frozenset[str] = field(default_factory=frozenset)

    @property
    def T(self) -> int:
        return self.y.shape[-2]

    def data(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> dict[str, Any]:
        """Arguments of a data verb."""
        out: dict[str, Any] = {"y": torch.as_tensor(self.y, dtype=dtype, device=device)}
        if self.u is not None:
            out["inputs"] = torch.as_tensor(self.u[..., : self.T, :], dtype=dtype, device=device)
        if self.lengths is not None:
            out["lengths"] = torch.as_tensor(self.lengths, device=device)
        return out

    def series(self) -> list[tuple[int, Any]]:
        """Each series by its number, cut at its length."""
        if self.y.ndim == 2:
            return [(0, self.y)]
        flat = self.y.reshape(-1, *self.y.shape[-2:])
        ends = [self.T] * len(flat) if self.lengths is None else list(self.lengths)
        return [(i, flat[i, :end]) for i, end in enumerate(ends)]


def _lds(
    name: str,
    seed: int,
    *,
    n: int = 2,
    m: int = 2,
    p: int = 0,
    T: int = 8,
    batch: tuple[int, ...] = (),
    missing: float = 0.0,
    lengths: list[int] | None = None,
    initial: Any = None,
    varying: str = "",
    many: bool = False,
) -> Case:
    g = np.random.default_rng(seed)
    h = T + 4

    def array(key: str, *shape: int) -> Any:
        lead = (*(batch if many else ()), *((h,) if key in varying else ()))
        return g.standard_normal((*lead, *shape))

    def covariance(key: str, size: int) -> Any:
        s = array(key, size, size)
        return s @ np.swapaxes(s, -1, -2) + 0.1 * np.eye(size)

    A = array("A", n, n)
    A = 0.7 * A / np.abs(np.linalg.eigvals(A)).max(-1)[..., None, None]
    v = {"A": A, "b": array("b", n), "Q": covariance("Q", n)}
    v |= {"C": array("C", m, n), "d": array("d", m), "R": covariance("R", m)}
    if p:
        v |= {"B": array("B", n, p), "D": array("D", m, p)}
    start = {"initial_mean": array("i", n), "initial_cov": covariance("i", n)}
    flat = None
    if initial is not None:
        flat = np.array([initial == "diffuse"] * n if isinstance(initial, str) else
                        [s == "diffuse" for s in initial])  # fmt: skip
        if initial in ("diffuse", "stationary"):
            start = {}
    u = g.standard_normal((*batch, h, p)) if p else None
    y = g.standard_normal((*batch, T, m))
    y[g.random(y.shape) < missing] = NAN

    def make(dtype: torch.dtype = torch.float64, **kwargs: Any) -> Any:
        args = {
            k: ss.Varying(torch.as_tensor(x, dtype=dtype)) if k in varying else x
            for k, x in v.items()
        }
        extra = {} if initial is None else {"initial": initial}
        return ss.LDS(n, m, p, **args, **start, **extra, dtype=dtype, **kwargs)

    def oracle(i: int, rows: Any) -> DenseOracle:
        steps = len(rows)

        def one(key: str) -> Any:
            x = v[key]
            x = x.reshape(-1, *x.shape[len(batch) :])[i] if many else x
            return x[:steps] if key in varying else x

        push, lift = one("b"), one("d")
        if p:
            seen = u.reshape(-1, h, p)[i][:steps]
            push = push + (one("B") @ seen[..., None])[..., 0]
            lift = lift + (one("D") @ seen[..., None])[..., 0]
        m1, P1 = _start(initial, start, one, push, n, many, batch, i)
        return DenseOracle(
            rows, one("A"), push, one("Q"), one("C"), lift, one("R"), m1, P1,
            flat if flat is not None and flat.any() else None,
        )  # fmt: skip

    tags = {"varying"} if varying else set()
    tags |= {"many"} if many else set()
    tags |= {"diffuse"} if flat is not None and flat.any() else set()
    return Case(name, make, y, u, lengths, oracle, frozenset(tags))


def _start(
    initial: Any, start: dict[str, Any], one: Any, push: Any, n: int, many: bool, batch: Any, i: int
) -> tuple[Any, Any]:
    if initial == "stationary":
        A, Q = one("A"), one("Q")
        P = np.linalg.solve(np.eye(n * n) - np.kron(A, A), Q.reshape(-1)).reshape(n, n)
        return np.linalg.solve(np.eye(n) - A, one("b")), P
    if not start:
        return np.zeros(n), np.eye(n)
    m1, P1 = start["initial_mean"], start["initial_cov"]
    return (m1.reshape(-1, n)[i], P1.reshape(-1, n, n)[i]) if many else (m1, P1)


CASES = [
    _lds("one series", 0),
    _lds("gaps", 1, missing=0.3),
    _lds("inputs", 2, p=2, missing=0.2),
    _lds("a batch, complete", 3, batch=(3,)),
    _lds("a batch, ragged, gaps, inputs", 4, batch=(3,), lengths=[8, 5, 1], missing=0.3, p=1),
    _lds("six outputs, complete", 17, n=3, m=6, batch=(2,)),
    _lds("two batch axes", 5, batch=(2, 2), missing=0.2),
    _lds("one state, four outputs", 6, n=1, m=4, missing=0.3),
    _lds("three states, one output", 7, n=3, m=1, batch=(2,)),
    _lds("diffuse", 8, initial="diffuse", missing=0.2, batch=(2,)),
    _lds("partly diffuse", 9, n=3, initial=["diffuse", "known", "diffuse"], missing=0.2),
    _lds("stationary", 10, initial="stationary", batch=(2,)),
    _lds("varying in time", 11, varying="AbQCdR", missing=0.2, batch=(2,)),
    _lds("varying, inputs, ragged", 12, varying="CR", p=1, batch=(2,), lengths=[8, 4]),
    _lds("one model per series", 13, many=True, batch=(3,), missing=0.2),
    _lds("one model per series, varying", 14, many=True, batch=(2,), varying="AR", p=1),
    _lds("one row", 15, T=1, n=3),
    _lds("one row, diffuse", 16, T=1, n=3, m=2, initial="diffuse"),
]
IDS = [c.name for c in CASES]
