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
from statespace.inference.variational import FIVO, ImportanceWeighted, Variational, Warmup

__all__ = [
    "FIVO",
    "CubatureKalman",
    "ExtendedKalman",
    "GaussHermiteKalman",
    "ImportanceWeighted",
    "Kalman",
    "Laplace",
    "ParticleFilter",
    "PosteriorLinearisation",
    "TeacherForcing",
    "UnscentedKalman",
    "Variational",
    "Warmup",
]
