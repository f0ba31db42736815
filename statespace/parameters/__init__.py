"""Parameters of a model: what a user declares about them, and where a model keeps them.

`Param`, `Fixed` and `Varying` are declarations; a `Slot` (a `CovarianceSlot` for Q, R and the
initial covariance) is the module that stores one parameter.
"""

from statespace.parameters.covariance import CovarianceSlot
from statespace.parameters.declare import Declaration, Fixed, Param, Varying, declared
from statespace.parameters.positive import PositiveSlot
from statespace.parameters.priors import InverseWishart, Normal
from statespace.parameters.slot import Slot

__all__ = [
    "CovarianceSlot",
    "Declaration",
    "Fixed",
    "InverseWishart",
    "Normal",
    "Param",
    "PositiveSlot",
    "Slot",
    "Varying",
    "declared",
]
