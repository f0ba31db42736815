"""Which way EM takes for each parameter is said by `docs/em.md`, and is what EM does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import statespace as ss
from statespace.models.lds.mstep import routes

PAGE = Path(__file__).parents[2] / "docs" / "em.md"
EYE = torch.eye(2, dtype=torch.float64)
A0 = [[0.6, 0.2], [-0.2, 0.5]]
COEFFICIENTS = ("A", "B", "b", "C", "D", "d", "Q", "R", "initial_mean", "initial_cov")

# a line of the table on the page, a model that it speaks of, and what EM does to the parameters
LINES: dict[str, tuple[dict, dict[str, str]]] = {
    "| `A`, `B`, `b` all free |": ({"b": [0.1, 0.0]}, dict.fromkeys(COEFFICIENTS, "closed form")),
    "| entries fixed or tied |": (
        {"A": ss.Param(A0, free=[[True, False], [True, True]])}, {"A": "closed form"}
    ),
    "| `C`, `D`, `d` |": ({}, {"C": "closed form", "D": "closed form", "d": "closed form"}),
    "| `Q` |": ({}, {"Q": "closed form"}),
    "| `R` |": ({}, {"R": "closed form"}),
    "| structures and ties of `Q`, `R` |": (
        {"Q": ss.Param(EYE, structure="scalar"), "R": ss.Param(torch.eye(3), structure="diag")},
        {"Q": "closed form", "R": "closed form"},
    ),
    '| initial moments, `initial="estimate"` |': (
        {}, {"initial_mean": "closed form", "initial_cov": "closed form"}
    ),
    '| `initial="stationary"` |': (
        {"initial": "stationary", "b": [0.1, 0.0]},
        {"A": "conditional", "b": "conditional", "Q": "conditional", "C": "closed form"},
    ),
    "| coefficients in rows without noise": (
        {
            "A": ss.Param(A0, free=[[True, True], [True, False]]),
            "B": ss.Fixed([[1.0], [0.0]]),
            "Q": ss.Param([[0.5, 0.0], [0.0, 0.0]], free=[[True, False], [False, False]]),
        },
        {"A": "gradient", "B": "held", "Q": "closed form"},
    ),
    "| `Varying(value)` |": (
        {"C": ss.Varying(torch.ones(9, 3, 2).double())}, {"C": "held", "R": "closed form"}
    ),
    "| `Varying(Param(value))` |": (
        {"C": ss.Varying(ss.Param(torch.ones(9, 3, 2).double()))}, {"C": "gradient"}
    ),
    "| `Fixed(value)` |": ({"A": ss.Fixed(A0)}, {"A": "held", "Q": "closed form"}),
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_the_page_says_what_em_does(line: str) -> None:
    """The line stands on the page, the model says the same of itself, and one step shows it."""
    assert line in PAGE.read_text(encoding="utf-8")
    given, wanted = LINES[line]
    true = ss.LDS(2, 3, 1, seed=0)
    u = torch.randn(9, 9, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = true.sample(9, (), u, seed=1).y
    values = {n: s.value().detach() for n, s in true.slots.items() if "initial" not in n}
    moments = {} if "initial" in given else {"initial_mean": [0.0, 0.0], "initial_cov": EYE}
    kinds = {} if "initial" in given else {"initial": "estimate"}
    lds = ss.LDS(2, 3, 1, **{**values, **moments, **kinds, "b": ss.Fixed([0.0, 0.0]), **given})
    said = routes(lds)
    assert {k: said[k] for k in wanted} == wanted
    before = {name: slot.value().detach().clone() for name, slot in lds.slots.items()}
    lds.fit(y, u, learner=ss.EM(max_iter=1, polish=False), seed=0)
    for name, route in wanted.items():
        same = torch.equal(lds.slots[name].value().detach(), before[name])
        if route == "held":
            assert same, name
        elif route in ("closed form", "conditional"):
            assert not same, name
    if line.startswith("| coefficients"):  # the rest of A is learned
        assert lds.A[1, 0] == before["A"][1, 0]
        assert lds.A[0, 0] != before["A"][0, 0]
    if line.startswith("| `Varying(Param"):
        assert torch.equal(lds.C.detach(), before["C"])
