"""Random start values: a stable system of moderate signal and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from statespace.errors import InputError, expected
from statespace.linalg import spectral_radius

if TYPE_CHECKING:
    from statespace.models.lds.model import LDS

__all__ = ["random_values"]

_RADIUS = 0.9  # spectral radius of a drawn A


def random_values(lds: LDS, generator: Generator) -> None:
    """Draws every parameter that has no value yet, honouring what is held or tied.

    A has spectral radius 0.9 (less where held entries allow it to be stable at all), C has rows of
    length about one, Q and R are near the identity.

    Raises:
        InputError: entries of A that are held make it unstable whatever the others are.
    """
    n = lds.latent_dim

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    def spread(size: int) -> Tensor:
        root = torch.eye(size, dtype=torch.float64) + 0.1 * normal(size, size)
        return root @ root.mT

    draws = {
        "A": normal(n, n),
        "C": normal(lds.obs_dim, n) / max(n, 1) ** 0.5,
        "Q": spread(n),
        "R": spread(lds.obs_dim),
        "initial_cov": spread(n),
    }
    for name in map(str, lds.slots):
        draw = draws[name] if name in draws else normal(*lds.slot(name).event)
        if lds.slot(name).is_set:
            continue
        lds.slot(name).set_(draw)
        if name == "A":
            _stabilise(lds, draw)


def _stabilise(lds: LDS, draw: Tensor) -> None:
    """Shrinks the drawn entries until A is stable; held entries stay."""
    slot = lds.slot("A")
    radius = float(spectral_radius(slot.value()).max())
    if slot.n_free == slot.pattern.index.numel() and radius > 0:
        slot.set_(_RADIUS / radius * slot.value())
        return
    for scale in (1.0, 0.7, 0.5, 0.3, 0.1, 0.0):
        slot.set_(scale * draw / max(radius, 1.0))
        if float(spectral_radius(slot.value()).max()) < 1:
            return
    if "stationary" in lds.kinds:
        raise InputError(
            expected(
                "A", "held entries that leave it stable", "others", "Give A, or another start."
            )
        )
