"""`NonlinearGaussian`: a user's transition and emission with Gaussian noise."""

from statespace.models.nonlinear.model import NonlinearGaussian

__all__ = ["NonlinearGaussian"]
