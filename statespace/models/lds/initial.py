"""The first state: known, estimated, stationary or diffuse, all states alike or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, InputTypeError, expected
from statespace.gaussian import Gaussian
from statespace.linalg import Covariance, lyapunov
from statespace.parameters import CovarianceSlot, Declaration, Fixed, Param, Slot, Varying, declared
from statespace.parameters.pattern import pattern_of
from statespace.parameters.read import read_value

__all__ = ["KINDS", "Start", "check_stationary", "declare_start", "prior_of"]

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
) -> Start:
    """Resolves `initial=` and the moments given beside it.

    Without `initial`, moments that are given are held and moments that are not are estimated.

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
    kinds = _kinds(initial, n)
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


def _kinds(initial: str | Sequence[str], n: int) -> tuple[str, ...]:
    kinds = (initial,) * n if isinstance(initial, str) else tuple(initial)
    words = ", ".join(f'"{kind}"' for kind in KINDS)
    unknown = [k for k in (kinds or (initial,)) if k not in KINDS and n]
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


def check_stationary(kinds: Sequence[str], a: Slot, others: Sequence[Slot]) -> None:
    """Stationary states must be driven by no other state, and by nothing that varies in time.

    Raises:
        InputError: they are, or their transition is already known to have a spectral radius of 1
            or more.
    """
    rows = _states(kinds, "stationary")
    if not rows:
        return
    for slot in (a, *others):
        if slot.varies:
            raise InputError(
                expected(
                    "initial",
                    f"{slot.name} constant in time for a stationary start",
                    f"a Varying {slot.name}",
                    'Use initial="known", "estimate" or "diffuse".',
                )
            )
    rest = [i for i in range(len(kinds)) if i not in rows]
    into = torch.zeros(a.event, dtype=torch.bool)
    into[torch.tensor(rows)[:, None], torch.tensor(rest, dtype=torch.int64)] = True
    driven = bool((a.pattern.free & into).any())
    held = a.held.detach().reshape(-1, *a.event).abs().amax(0).cpu()
    if driven or bool((held[into] != 0).any()):
        raise InputError(
            expected(
                "initial",
                f"stationary states {rows} that no other state drives (zeros held in A)",
                "an A through which other states drive them",
                "Hold those entries of A at 0, or start those states in another way.",
            )
        )


def _states(kinds: Sequence[str], kind: str) -> list[int]:
    return [i for i, k in enumerate(kinds) if k == kind]


def prior_of(
    kinds: Sequence[str],
    mean: Slot,
    cov: CovarianceSlot,
    a: Slot,
    b: Slot,
    q: CovarianceSlot,
) -> Gaussian:
    """p(z_1).

    Stationary states have m = (I - A)^-1 b and P = A P A' + Q over their own block.

    Raises:
        InputError: a stationary start with a spectral radius of 1 or more.
    """
    m, p = mean.value(), cov.covariance()
    rows = _states(kinds, "stationary")
    if rows:
        stationary, fills = _stationary(rows, a, b, q)
        if len(rows) == len(kinds):
            m, p = fills, stationary
        else:
            into = torch.eye(len(kinds), dtype=m.dtype, device=m.device)[:, rows]  # (n, s)
            m = m + (into @ fills[..., None])[..., 0]
            matrix = p.matrix + into @ stationary.matrix @ into.mT
            wide = into @ stationary.root
            lead = torch.broadcast_shapes(p.root.shape[:-2], wide.shape[:-2])
            roots = [x.expand(*lead, *x.shape[-2:]) for x in (p.root, wide)]
            p = Covariance(matrix, torch.cat(roots, -1))
    flat = _states(kinds, "diffuse")
    diffuse = None
    if flat:
        diffuse = torch.zeros(len(kinds), dtype=torch.bool, device=m.device)
        diffuse[flat] = True
    return Gaussian(m, p, diffuse)


def _stationary(rows: list[int], a: Slot, b: Slot, q: CovarianceSlot) -> tuple[Covariance, Tensor]:
    block = torch.tensor(rows, device=a.held.device)
    a_ss = a.value()[..., block[:, None], block]
    noise = q.covariance()
    q_ss = Covariance(noise.matrix[..., block[:, None], block], noise.root[..., block, :])
    lead = torch.broadcast_shapes(a_ss.shape[:-2], q_ss.matrix.shape[:-2])
    a_ss = a_ss.expand(*lead, *a_ss.shape[-2:])
    q_ss = q_ss.map(lambda x: x.expand(*lead, *x.shape[-2:]))
    cov = lyapunov(a_ss, q_ss)
    eye = torch.eye(len(rows), dtype=a_ss.dtype, device=a_ss.device)
    b_s = b.value()[..., block]
    lead = torch.broadcast_shapes(lead, b_s.shape[:-1])
    left = (eye - a_ss).expand(*lead, *eye.shape)
    mean = torch.linalg.solve(left, b_s.expand(*lead, len(rows))[..., None])[..., 0]
    return cov, mean
