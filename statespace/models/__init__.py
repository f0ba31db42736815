"""Models: names that someone would say."""

from statespace.models.autoregressive import AutoregressiveRNN
from statespace.models.deep import SRNN, VRNN, DeepKalmanFilter, Guided, LSTMStateSpace
from statespace.models.lds import LDS
from statespace.models.noisy_rnn import NoisyRNN
from statespace.models.nonlinear import NonlinearGaussian

__all__ = [
    "LDS",
    "SRNN",
    "VRNN",
    "AutoregressiveRNN",
    "DeepKalmanFilter",
    "Guided",
    "LSTMStateSpace",
    "NoisyRNN",
    "NonlinearGaussian",
]
