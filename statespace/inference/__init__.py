"""Methods: each computes beliefs and likelihoods of the models of one family."""

from statespace.inference.kalman import Kalman
from statespace.inference.particle import ParticleFilter

__all__ = ["Kalman", "ParticleFilter"]
