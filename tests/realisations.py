"""Systems without structure, changes of their state, and what two systems have in common."""

from dataclasses import fields

import numpy as np
import torch
from oracles import DenseOracle

from statespace.models.lds.canonical import Realisation

SIZES = [(1, 1, 0), (1, 3, 1), (2, 1, 1), (3, 2, 2), (4, 2, 0), (5, 3, 1), (2, 4, 1)]
FORMS = ["modal", "observer"]


def f64(x) -> torch.Tensor:
    return torch.as_tensor(np.asarray(x), dtype=torch.float64)


def realisation(n: int, m: int, p: int = 0, seed: int = 0, batch: tuple = ()) -> Realisation:
    """A stable system without structure."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=g)

    A = normal(n, n)
    radius = torch.linalg.eigvals(A).abs().amax(-1)[..., None, None]
    w, v, s = normal(n, n), normal(m, m), normal(n, n)
    return Realisation(
        A=0.95 * A / radius,
        B=normal(n, p),
        b=normal(n),
        C=normal(m, n),
        D=normal(m, p),
        d=normal(m),
        Q=w @ w.mT,
        R=v @ v.mT,
        initial_mean=normal(n),
        initial_cov=s @ s.mT,
    )


def change(n: int, seed: int = 1, batch: tuple = ()) -> torch.Tensor:
    """A well-conditioned change of the state."""
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(*batch, n, n, dtype=torch.float64, generator=g)).Q
    return q * torch.linspace(0.5, 3.0, n, dtype=torch.float64)


def assert_same(a: Realisation, b: Realisation, atol: float = 1e-9) -> None:
    for field in fields(Realisation):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert x.shape == y.shape
        assert torch.allclose(x, y, rtol=1e-8, atol=atol), f"{field.name}: {x} against {y}"


def log_likelihood(s: Realisation, y, u, diffuse=None) -> float:
    """By the dense oracle, inputs folded into the offsets."""
    u = u[:, : s.B.shape[-1]]
    return DenseOracle(
        y, s.A, u @ s.B.mT + s.b, s.Q, s.C, u @ s.D.mT + s.d, s.R, s.initial_mean,
        torch.nan_to_num(s.initial_cov, posinf=0.0, neginf=0.0), diffuse=diffuse,
    ).log_likelihood()  # fmt: skip
