"""The noisy recurrent network: `NoisyRNN`, its heads and its start values."""

from statespace.models.noisy_rnn.model import NoisyRNN

__all__ = ["NoisyRNN"]
