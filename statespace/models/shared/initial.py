"""What is said about the first state, all states alike or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected
from statespace.parameters import Declaration, Fixed, Param, Varying, declared
from statespace.parameters.pattern import pattern_of
from statespace.parameters.read import read_value

__all__ = ["Start", "declare_start"]

KINDS = ("known", "estimate", "stationary", "diffuse")


@dataclass(frozen=True)
class Start:
    """What is said about z_1: a kind for each state, and the two moments as declarations."""

    kinds: tuple[str, ...]
    mean: Declaration
    cov: Declaration


def declare_start(
    n: int,
    initial: str | Sequence[str] | None,
    mean: Any,
    cov: Any,
    dtype: torch.dtype,
    device: torch.device | None,
    allowed: Sequence[str] = KINDS,
) -> Start:
    """Resolves `initial=` and the moments given beside it.

    Without `initial`, moments that are given are held and moments that are not are estimated.
    Some models have no use for some kinds: `allowed` are theirs.

    Raises:
        InputError, InputTypeError: an unknown kind, a list of the wrong length, moments missing
            where they must be known, or given where they are not used.
    """
    given = mean is not None or cov is not None
    for name, value in (("initial_mean", mean), ("initial_cov", cov)):
        if isinstance(value, Varying):
            raise InputTypeError(
                expected(name, "one value: z_1 has no time axis", "a Varying", "Use Fixed.")
            )
    if initial is None:
        first, second = (Param() if v is None else declared(v, held=True) for v in (mean, cov))
        learned = isinstance(first, Param) or isinstance(second, Param)
        return Start((("estimate" if learned else "known"),) * n, first, second)
    kinds = _kinds(initial, n, allowed)
    if given and not set(kinds) & {"known", "estimate"}:
        raise InputError(
            expected(
                "initial_mean and initial_cov",
                f"no moments beside initial={initial!r}, which determines them",
                "moments",
                "Leave them out, or use another initial=.",
            )
        )
    if "known" in kinds and (mean is None or cov is None):
        missing = "initial_mean" if mean is None else "initial_cov"
        raise InputError(
            expected(missing, 'a value, since initial="known"', "none", f"Give {missing}=.")
        )
    rows = torch.tensor([k == "known" for k in kinds], dtype=torch.bool)
    learned_rows = torch.tensor([k == "estimate" for k in kinds], dtype=torch.bool)
    moments = [
        _masked(name, value, event, rows, learned_rows, dtype, device)
        for name, value, event in (("initial_mean", mean, (n,)), ("initial_cov", cov, (n, n)))
    ]
    return Start(kinds, moments[0], moments[1])


def _kinds(initial: str | Sequence[str], n: int, allowed: Sequence[str]) -> tuple[str, ...]:
    kinds = (initial,) * n if isinstance(initial, str) else tuple(initial)
    words = ", ".join(f'"{kind}"' for kind in allowed)
    unknown = [k for k in (kinds or (initial,)) if k not in allowed and n]
    if unknown:
        raise InputError(
            expected("initial", f"one of {words}", repr(unknown[0]), "Choose one of them.")
        )
    if len(kinds) != n:
        raise InputError(
            expected(
                "initial",
                f"one word for all states or a list of {n}",
                f"a list of {len(kinds)}",
                "Give one word for each state.",
            )
        )
    return kinds


def _masked(
    name: str,
    given: Any,
    event: tuple[int, ...],
    known: Tensor,
    learned: Tensor,
    dtype: torch.dtype,
    device: torch.device | None,
) -> Declaration:
    """A moment, held at known states, learned at estimated ones, 0 elsewhere."""
    if isinstance(given, Param) and not bool(learned.any()):
        raise InputError(
            expected(name, "a held value where no state is estimated", "a Param", "Use Fixed.")
        )
    value = declared(given)
    raw = value.value
    if bool(learned.all()):
        return value
    if bool(known.all()):
        return Fixed(raw)
    both = known | learned
    mask = both if len(event) == 1 else both[:, None] & both
    free = learned if len(event) == 1 else learned[:, None] & learned
    if raw is not None:
        axes = ("latent",) * len(event)
        read = read_value(name, raw, event, axes, dtype=dtype, device=device)
        raw = torch.where(mask.to(read.device), read, torch.zeros_like(read))
    if not isinstance(value, Param) or not bool(learned.any()):
        zeros = torch.zeros(event, dtype=dtype, device=device)
        return Fixed(zeros if raw is None else raw)
    pattern = pattern_of(name, value, event)
    labels = None if value.labels is None else torch.as_tensor(value.labels) * free
    return replace(value, value=raw, structure="full", free=free & pattern.free, labels=labels)
