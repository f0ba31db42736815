"""particles (Chopin and Papaspiliopoulos): sequential Monte Carlo, one series at a time."""

from __future__ import annotations

import numpy as np
from particles import SMC
from particles.state_space_models import Bootstrap, StochVol

from ..problems import Array, Volatility
from .base import Calls, Library


class Particles(Library):
    name, package = "particles", "particles"
    settings = (
        "SMC of a Bootstrap of its own StochVol, systematic resampling at half the particles, no "
        "history; a panel series by series"
    )

    def particles(self, p: Volatility, *, declared: bool = True) -> Calls:
        model = StochVol(mu=p.mu, rho=p.phi, sigma=p.sigma)

        def one(y: Array) -> float:
            run = SMC(fk=Bootstrap(ssm=model, data=y[:, 0]), N=p.particles)
            run.run()
            return float(run.logLt)

        def every() -> Array:
            return np.array([one(y) for y in p.y] if p.y.ndim > 2 else one(p.y))

        return {"bootstrap": every}
