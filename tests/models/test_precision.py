"""Under `torch.autocast` products take sixteen bits, and probabilities stay in single precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from deep_cases import CASES, IDS, DeepCase
from torch.distributions import Distribution

import statespace as ss


def parameters_of(d: Any) -> list[torch.Tensor]:
    """The numbers that a density is made of."""
    found = []
    for value in list(vars(d).values()):
        if isinstance(value, Distribution):
            found += parameters_of(value)
        elif isinstance(value, torch.Tensor) and value.is_floating_point():
            found.append(value)
    return found


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_probabilities_stay_in_single_precision(
    case: DeepCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Densities, log-likelihoods, gradients and weights, in every verb and in a fit."""
    model, data = case.make(torch.float32), case.data(torch.float32)
    seen: set[torch.dtype] = set()
    made = {name: getattr(model, name) for name in ("initial", "transition", "emission")}

    def watched(name: str) -> Any:
        def density(*args: Any) -> Any:
            found = made[name](*args)
            seen.update(x.dtype for x in parameters_of(found))
            return found

        return density

    products: set[torch.dtype] = set()
    linear = torch.nn.functional.linear

    def noted(*args: Any) -> torch.Tensor:
        found = linear(*args)
        products.add(found.dtype)
        return found

    for name in made:
        monkeypatch.setattr(model, name, watched(name))
    plain = model.log_likelihood(**data, seed=0).detach()
    monkeypatch.setattr(torch.nn.functional, "linear", noted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = model.log_likelihood(**data, seed=0)
        model.filter(**data, seed=0)
        model.forecast(**data | _ahead(case), horizon=2, seed=0, num_samples=3)
        fit = model.fit(**data, learner=ss.Gradient(3), seed=0)
    assert seen == {torch.float32}
    assert torch.bfloat16 in products
    assert value.dtype == torch.float32
    assert torch.allclose(value.detach(), plain, rtol=0.1, atol=2.0)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert torch.isfinite(torch.tensor(fit.history)).all()


def _ahead(case: DeepCase) -> dict[str, Any]:
    return {} if case.u is None else {"inputs": case.u[..., : case.T + 2, :].float()}
