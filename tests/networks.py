"""Noisy recurrent networks with data, for what compiled loops promise, and plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import statespace as ss

F64 = torch.float64


@dataclass(frozen=True)
class Case:
    """A network g, f with data: `y` (*batch, T, m), `u` (*batch, T, p) or None."""

    name: str
    g: str
    f: str
    n: int
    m: int
    p: int = 0
    batch: tuple[int, ...] = ()
    T: int = 12
    missing: float = 0.0
    lengths: tuple[int, ...] | None = None
    tags: frozenset[str] = field(default_factory=frozenset)

    def values(self) -> dict[str, Any]:
        """Parameters by their letters, numpy."""
        r = np.random.default_rng(len(self.name))
        n, m, p = self.n, self.m, self.p
        a = r.standard_normal((n, n))
        values = {
            "A": 1.2 * a / np.abs(np.linalg.eigvals(a)).max(), "b": 0.3 * r.standard_normal(n),
            "C": r.standard_normal((m, n)), "d": 0.3 * r.standard_normal(m),
            "Q": _covariance(r, n, 0.3), "R": _covariance(r, m, 0.2),
            "initial_mean": r.standard_normal(n), "initial_cov": _covariance(r, n, 1.0),
        }  # fmt: skip
        if p:
            values |= {"W": r.standard_normal((n, p)), "D": r.standard_normal((m, p))}
        if "diagonal" in self.tags:
            values["R"] = np.diag(np.diag(values["R"]))
        return values

    def model(self, dtype: torch.dtype = F64, **other: Any) -> Any:
        """Its parameters held where they are, but learned; `other` in the place of some."""
        told = {k: torch.as_tensor(v, dtype=dtype) for k, v in self.values().items()}
        return ss.NoisyRNN(
            self.n, self.m, self.p, activation=self.g, output_activation=self.f,
            initial="estimate", dtype=dtype, **(told | other),
        )  # fmt: skip

    def data(self, dtype: torch.dtype = F64) -> dict[str, Any]:
        """Arguments of a verb."""
        r = np.random.default_rng(1 + len(self.name))
        y = r.standard_normal((*self.batch, self.T, self.m))
        y[r.random(y.shape) < self.missing] = np.nan
        out: dict[str, Any] = {"y": torch.as_tensor(y, dtype=dtype)}
        if self.p:
            u = r.standard_normal((*self.batch, self.T, self.p))
            out["inputs"] = torch.as_tensor(u, dtype=dtype)
        if self.lengths is not None:
            out["lengths"] = torch.tensor(self.lengths)
        return out


def _covariance(r: np.random.Generator, size: int, scale: float) -> Any:
    root = r.standard_normal((size, size))
    return scale * (root @ root.T / size + 0.5 * np.eye(size))


CASES = [
    Case("tanh, one series", "tanh", "identity", 4, 3),
    Case("tanh, a batch, ragged, gaps, inputs", "tanh", "identity", 3, 2, 2, (3,), 12, 0.3,
         (12, 5, 1)),
    Case("softplus seen through a sigmoid", "softplus", "sigmoid", 2, 4, 1, missing=0.2),
    Case("relu seen through tanh, two axes", "relu", "tanh", 3, 2, 0, (2, 2), missing=0.2),
    Case("sigmoid seen through relu, many", "sigmoid", "relu", 2, 3, 0, (19,), missing=0.1,
         tags=frozenset({"diagonal"})),
    Case("linear seen through softplus", "identity", "softplus", 3, 1, 0, (2,)),
    Case("wide, long, diagonal noise", "tanh", "identity", 13, 4, 0, (), 70, 0.1,
         tags=frozenset({"diagonal"})),
]  # fmt: skip
IDS = [c.name for c in CASES]

_FUNCTIONS = {
    "identity": (lambda x: x, torch.ones_like),
    "tanh": (torch.tanh, lambda x: torch.cosh(x) ** -2),
    "relu": (lambda x: x.clamp_min(0), lambda x: (x > 0).to(x)),
    "sigmoid": (lambda x: 1 / (1 + (-x).exp()), lambda x: (2 + x.exp() + (-x).exp()).reciprocal()),
    "softplus": (lambda x: x.exp().log1p(), lambda x: 1 / (1 + (-x).exp())),
}


def textbook(case: Case, v: dict[str, Tensor], y: Tensor, u: Tensor | None) -> dict[str, Any]:
    """The extended filter and smoother of one series in covariance form, differentiable."""
    (g, dg), (f, df) = _FUNCTIONS[case.g], _FUNCTIONS[case.f]
    m, P, total = v["initial_mean"], v["initial_cov"], torch.zeros((), dtype=F64)
    kept: dict[str, list[Any]] = {k: [] for k in ("mean", "cov", "before", "before_cov", "G")}
    for t in range(len(y)):
        G = None
        if t:
            a = v["A"] @ m + v["b"] + (0 if u is None else v["W"] @ u[t])
            G = dg(a)[:, None] * v["A"]
            m, P = g(a), G @ P @ G.T + v["Q"]
        kept["before"].append(m)
        kept["before_cov"].append(P)
        kept["G"].append(G)
        some = ~torch.isnan(y[t])
        if some.any():
            c = v["C"] @ m + v["d"] + (0 if u is None else v["D"] @ u[t])
            H = (df(c)[:, None] * v["C"])[some]
            e, S = (y[t] - f(c))[some], H @ P @ H.T + v["R"][some][:, some]
            K = P @ H.T @ torch.linalg.inv(S)
            total = total - 0.5 * (torch.logdet(2 * torch.pi * S) + e @ torch.linalg.inv(S) @ e)
            m, P = m + K @ e, P - K @ S @ K.T
        kept["mean"].append(m)
        kept["cov"].append(P)
    return {**kept, "total": total}


def smoothed(found: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Rauch, Tung and Striebel: means, covariances, lag-one covariances (T - 1, n, n)."""
    mean, cov, cross = [found["mean"][-1]], [found["cov"][-1]], []
    for t in range(len(found["mean"]) - 2, -1, -1):
        before = torch.linalg.inv(found["before_cov"][t + 1])
        J = found["cov"][t] @ found["G"][t + 1].T @ before
        cross.append(cov[-1] @ J.T)
        mean.append(found["mean"][t] + J @ (mean[-1] - found["before"][t + 1]))
        cov.append(found["cov"][t] + J @ (cov[-1] - found["before_cov"][t + 1]) @ J.T)
    n = len(mean[0])
    lagged = torch.stack(cross[::-1]) if cross else torch.empty(0, n, n, dtype=F64)
    return torch.stack(mean[::-1]), torch.stack(cov[::-1]), lagged


def series(case: Case) -> list[tuple[Tensor, Tensor | None]]:
    """Each series with its inputs, cut at its length."""
    data = case.data()
    y = data["y"].reshape(-1, *data["y"].shape[-2:])
    u = data["inputs"].reshape(-1, case.T, case.p) if case.p else None
    ends = case.lengths or [case.T] * len(y)
    return [(x[:e], None if u is None else u[i, :e])
            for i, (x, e) in enumerate(zip(y, ends, strict=True))]  # fmt: skip
