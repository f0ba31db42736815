"""Deep state-space models: each a short constructor over the parts of `statespace.nn`."""

from statespace.models.deep.dkf import DeepKalmanFilter
from statespace.models.deep.guided import Guided
from statespace.models.deep.lstm import LSTMStateSpace
from statespace.models.deep.srnn import SRNN
from statespace.models.deep.vrnn import VRNN

__all__ = ["SRNN", "VRNN", "DeepKalmanFilter", "Guided", "LSTMStateSpace"]
