"""The first state of an LDS: its distribution, computed where it is stationary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.gaussian import Gaussian
from statespace.linalg import Covariance, lyapunov
from statespace.parameters import CovarianceSlot, Slot

__all__ = ["check_stationary", "prior_of"]


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
