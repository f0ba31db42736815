"""The Kalman filter and smoother, exact for every linear-Gaussian model."""

from statespace.inference.kalman.belief import KalmanBelief
from statespace.inference.kalman.method import Kalman

__all__ = ["Kalman", "KalmanBelief"]
