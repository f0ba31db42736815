"""Nonlinear models with Gaussian states: every row made linear, one core for the rest."""

from statespace.inference.linearising.methods import (
    CubatureKalman,
    ExtendedKalman,
    GaussHermiteKalman,
    Laplace,
    PosteriorLinearisation,
    UnscentedKalman,
)

__all__ = [
    "CubatureKalman",
    "ExtendedKalman",
    "GaussHermiteKalman",
    "Laplace",
    "PosteriorLinearisation",
    "UnscentedKalman",
]
