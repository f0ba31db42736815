"""The particle filter: one stochastic step that serves filtering, smoothing and likelihoods."""

from statespace.inference.particle.method import ParticleFilter
from statespace.inference.particle.stochastic import ParticleBelief

__all__ = ["ParticleBelief", "ParticleFilter"]
