"""Start values of a noisy recurrent network: a linear system, fitted, in its linear regime."""

from statespace.models.noisy_rnn.start.begin import start_values

__all__ = ["start_values"]
