"""Methods: each computes beliefs and likelihoods of the models of one family."""

from statespace.inference.kalman import Kalman
from statespace.inference.linearising import (
    CubatureKalman,
    ExtendedKalman,
    GaussHermiteKalman,
    Laplace,
    PosteriorLinearisation,
    UnscentedKalman,
)
from statespace.inference.particle import ParticleFilter
from statespace.inference.teacher import TeacherForcing

__all__ = [
    "CubatureKalman",
    "ExtendedKalman",
    "GaussHermiteKalman",
    "Kalman",
    "Laplace",
    "ParticleFilter",
    "PosteriorLinearisation",
    "TeacherForcing",
    "UnscentedKalman",
]
