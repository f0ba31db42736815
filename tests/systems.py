"""The table of systems that every promise of the linear-Gaussian core runs over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from oracles import DenseOracle
from torch import Tensor

from statespace.gaussian import Gaussian
from statespace.inference.lineargaussian import System
from statespace.linalg import Covariance

NAMES = ("A", "b", "Q", "C", "d", "R", "m1", "P1")


@dataclass(frozen=True)
class Case:
    """Numpy arrays of one series and one model."""

    name: str
    arrays: dict[str, Any]
    y: Any
    diffuse: Any = None
    varies: frozenset[str] = field(default_factory=lambda: frozenset("bd"))

    def system(self, arrays: dict[str, Any] | None = None, graph: bool = False) -> System:
        raw = {k: torch.as_tensor(v) for k, v in (arrays or self.arrays).items()}
        keep = 1.0 if self.diffuse is None else torch.as_tensor(~self.diffuse).double()
        mask = keep if self.diffuse is None else keep[:, None] * keep
        covs = {
            k: Covariance.from_matrix(raw[k] * (mask if k == "P1" else 1.0))
            for k in ("Q", "R", "P1")
        }
        if graph:
            raw = {k: v.clone().requires_grad_() for k, v in raw.items()}
            covs = {k: Covariance(raw[k], c.root) for k, c in covs.items()}
        flat = None if self.diffuse is None else torch.as_tensor(self.diffuse)
        prior = Gaussian(raw["m1"], covs["P1"], flat)
        a = raw
        return System(a["A"], a["b"], covs["Q"], a["C"], a["d"], covs["R"], prior, self.varies)

    def data(self) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.as_tensor(self.y)
        return y.nan_to_num(), ~y.isnan(), torch.ones(len(y), dtype=torch.bool)

    def oracle(self) -> DenseOracle:
        return DenseOracle(self.y, *[self.arrays[k] for k in NAMES], self.diffuse)


def make(
    name: str,
    seed: int,
    *,
    n: int = 3,
    m: int = 2,
    T: int = 7,
    missing: float = 0.3,
    varying: bool = False,
    diffuse: list[bool] | None = None,
    width: float = 1.0,
    q_rank: int | None = None,
    zero: str = "",
) -> Case:
    g = np.random.default_rng(seed)
    lead = (T,) if varying else ()

    def cov(size: int, rank: int, *axes: int) -> Any:
        s = g.standard_normal((*axes, size, rank))
        return s @ np.swapaxes(s, -1, -2)

    arrays = {
        "A": 0.5 * g.standard_normal((*lead, n, n)),
        "b": g.standard_normal((T, n)),
        "Q": cov(n, n if q_rank is None else q_rank, *lead),
        "C": g.standard_normal((*lead, m, n)),
        "d": g.standard_normal((T, m)),
        "R": cov(m, m, *lead),
        "m1": g.standard_normal(n),
        "P1": width * cov(n, n),
    }
    arrays |= {k: 0.0 * arrays[k] for k in ("Q", "R", "P1") if k[0] in zero}
    y = g.standard_normal((T, m))
    y[g.random((T, m)) < missing] = np.nan
    flat = None if diffuse is None else np.array(diffuse)
    return Case(name, arrays, y, flat, frozenset("AbQCdR" if varying else "bd"))


CASES = [
    make("constant, complete", 0, missing=0.0),
    make("constant, gaps", 1),
    make("varying, gaps", 2, varying=True),
    make("one row", 3, T=1),
    make("one row, nothing seen", 4, T=1, missing=1.1),
    make("nothing seen", 5, missing=1.1),
    make("more outputs than states", 6, n=2, m=5),
    make("one state, one output", 7, n=1, m=1),
    make("noise of rank one", 8, q_rank=1),
    make("no state noise", 9, zero="Q"),
    make("known start", 10, zero="P"),
    make("no output noise", 11, zero="R"),
    make("diffuse", 12, diffuse=[True, True, True], missing=0.0),
    make("partly diffuse, gaps, varying", 13, diffuse=[True, False, True], varying=True),
    make("diffuse, no output noise", 14, diffuse=[True, True, False], zero="R"),
    make("diffuse, one output", 15, diffuse=[True, True, True], m=1, T=9),
    make("wide start", 16, width=1e6),
]
IDS = [c.name for c in CASES]
