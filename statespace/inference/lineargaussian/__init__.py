"""The linear-Gaussian core: filter, smoother, score and simulation on arrays and roots.

Time-varying, partly observed, batched; knows no model. `docs/numerics.md` derives what is here.

    z_1 = m + S0 e + X0 delta,  z_t = A_t z_{t-1} + b_t + w_t,  y_t = C_t z_t + d_t + v_t,
    w ~ N(0, Q_t),  v ~ N(0, R_t),  delta flat (diffuse start) or N(0, I) (very wide priors).
"""

from statespace.inference.lineargaussian.backward import Score, Smooth, score, smooth
from statespace.inference.lineargaussian.forward import forward
from statespace.inference.lineargaussian.likelihood import log_likelihood
from statespace.inference.lineargaussian.moments import FilterMoments, filter_moments
from statespace.inference.lineargaussian.passes import Pass
from statespace.inference.lineargaussian.start import Start, start
from statespace.inference.lineargaussian.system import System

__all__ = [
    "FilterMoments",
    "Pass",
    "Score",
    "Smooth",
    "Start",
    "System",
    "filter_moments",
    "forward",
    "log_likelihood",
    "score",
    "smooth",
    "start",
]
