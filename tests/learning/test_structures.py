"""EM on every structure that can be declared: it rises, ends at a maximum, and keeps what is held.

Would catch: a closed form that ignores a tie or a held entry, an M-step whose statistics leave out
inputs or rows, a stationary start taken for a free one, a history that is not of the likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import statespace as ss
from statespace.parameters import InverseWishart, Normal

EYE = torch.eye(2, dtype=torch.float64)
ROWS = 14


def panel(inputs: int = 0) -> dict[str, Any]:
    """Twelve series of unequal length with a seventh of their entries missing."""
    true = ss.LDS(2, 3, inputs, seed=0)
    g = torch.Generator().manual_seed(5)
    u = torch.randn(12, ROWS, inputs, generator=g, dtype=torch.float64) if inputs else None
    y = true.sample(ROWS, () if inputs else (12,), u, seed=1).y
    y = torch.where(torch.rand(y.shape, generator=g) < 0.15, torch.nan, y)
    data: dict[str, Any] = {"y": y, "lengths": torch.tensor([ROWS, 9, ROWS, 4, 12, 7] * 2)}
    return data if u is None else {**data, "inputs": u}


def varying() -> torch.Tensor:
    rows = torch.linspace(0.5, 1.5, ROWS, dtype=torch.float64)
    return rows[:, None, None] * EYE


A0 = [[0.6, 0.2], [-0.2, 0.5]]
# inputs, and the arguments of a model of y in units c times as small
STRUCTURES: dict[str, tuple[int, Callable[[float], dict[str, Any]]]] = {
    "everything free": (0, lambda c: {}),
    "inputs and biases": (1, lambda c: {"b": ss.Param()}),
    "stationary": (0, lambda c: {"initial": "stationary"}),
    "stationary, inputs and bias": (1, lambda c: {"initial": "stationary", "b": ss.Param()}),
    "diffuse": (
        0, lambda c: {"initial": "diffuse", "C": ss.Fixed([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])}
    ),
    "known": (  # Q too: beside a free one states without bound are ever likelier on these data
        0,
        lambda c: {
            "initial_mean": [0.0, 0.0],
            "initial_cov": EYE,
            "Q": ss.Param(structure="identity"),
        },
    ),
    "mixed starts": (
        0,
        lambda c: {
            "A": ss.Param([[0.5, 0.0], [0.0, 1.0]], free=[[True, False], [False, False]]),
            "Q": ss.Param(EYE, structure="diag"),
            "initial": ["stationary", "diffuse"],
            "C": ss.Param([[1.0, 1.0], [0.5, 0.0], [0.0, 1.0]], free=[[False] * 2] * 3),
        },
    ),
    "diagonal noise": (
        0, lambda c: {"Q": ss.Param(structure="diag"), "R": ss.Param(structure="diag")}
    ),
    "scalar noise": (
        0, lambda c: {"Q": ss.Param(structure="scalar"), "R": ss.Param(structure="scalar")}
    ),
    "one block of R": (
        0,
        lambda c: {
            "R": ss.Param(
                c**2 * torch.tensor([[0.5, 0.1, 0.0], [0.1, 0.4, 0.0], [0.0, 0.0, 0.3]]).double(),
                free=[[True, True, False], [True, True, False], [False, False, True]],
            )
        },
    ),
    "held entries of A and C": (
        0,
        lambda c: {
            "A": ss.Param(A0, free=[[True, False], [True, True]]),
            "C": ss.Param(
                [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]],
                free=[[False, False], [False, False], [True, True]],
            ),
        },
    ),
    "tied entries": (
        0,
        lambda c: {
            "A": ss.Param([[0.6, 0.3], [-0.3, 0.6]], labels=[[1, 2], [-2, 1]]),
            "d": ss.Param([0.1 * c, 0.1 * c, 0.2 * c], labels=[1, 1, 2]),
            "Q": ss.Param(structure="scalar"),
        },
    ),
    "a rotation, stationary": (
        0,
        lambda c: {
            "A": ss.Param([[0.6, 0.4], [-0.4, 0.6]], labels=[[1, 2], [-2, 1]]),
            "Q": ss.Param(structure="scalar"),
            "initial": "stationary",
        },
    ),
    "held slots": (
        1,
        lambda c: {"D": ss.Fixed(torch.zeros(3, 1)), "Q": ss.Fixed(EYE), "A": ss.Fixed(A0)},
    ),
    "noise that varies": (0, lambda c: {"Q": ss.Varying(varying())}),
    "conjugate priors": (
        0,
        lambda c: {
            "A": ss.Param(A0, prior=Normal(0.0, 0.3)),
            "R": ss.Param(
                c**2 * torch.eye(3), prior=InverseWishart(6.0, c**2 * torch.eye(3).double())
            ),
        },
    ),
    "a noise-free row": (
        0,
        lambda c: {
            "A": ss.Param([[0.5, 0.2], [1.0, 0.0]], free=[[True, True], [False, False]]),
            "Q": ss.Param([[0.5, 0.0], [0.0, 0.0]], free=[[True, False], [False, False]]),
            "initial": "stationary",
        },
    ),
}  # fmt: skip


# directions that a diffuse start gives away, where the states are in the units of y
DIFFUSE = {"mixed starts": 12, "diffuse": 24}
QUICK = ("stationary", "diagonal noise")


def fitted(name: str, learner: Any, c: float = 1.0) -> tuple[Any, Any]:
    inputs, make = STRUCTURES[name]
    lds, data = ss.LDS(2, 3, inputs, **make(c)), panel(inputs)
    return lds, lds.fit(**{**data, "y": c * data["y"]}, learner=learner, seed=0)


@pytest.mark.parametrize("name", STRUCTURES)
def test_em_rises(name: str) -> None:
    """No iteration falls, none is taken back, and the history is that of the likelihood."""
    lds, fit = fitted(name, ss.EM(max_iter=15, tol=0.0, polish=False))
    assert len(fit.history) > 1
    assert "fell" not in fit.reason
    assert "broke down" not in fit.reason
    assert np.diff(fit.history).min() >= -1e-9 * abs(fit.log_likelihood)
    assert fit.history[-1] > fit.history[0]
    data = panel(STRUCTURES[name][0])
    now = float(lds.log_likelihood(**data).sum().detach())
    assert now == pytest.approx(fit.log_likelihood, rel=1e-10)
    if "prior" not in name:
        assert fit.history[-1] == pytest.approx(now, rel=1e-10)
    assert fit.n_values == sum(
        int(torch.isfinite(s[:e]).sum()) for s, e in zip(data["y"], data["lengths"], strict=True)
    )


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in STRUCTURES]
)
def test_units_pass_through_every_structure(name: str) -> None:
    """y in units c times as small has the same maximum, moved by N log c, and is said to be one.

    What is held or given goes with the units; the states keep theirs where C has to make up for it.
    """
    _, one = fitted(name, ss.EM())
    _, two = fitted(name, ss.EM(), c=1e-4)
    counted = one.n_values - DIFFUSE.get(name, 0)
    assert one.converged, one.reason
    assert two.converged, two.reason
    shift = one.log_likelihood - two.log_likelihood
    assert shift == pytest.approx(counted * math.log(1e-4), abs=1e-3)
