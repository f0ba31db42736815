"""Recurrent networks without a latent state."""

from statespace.models.autoregressive.model import AutoregressiveRNN

__all__ = ["AutoregressiveRNN"]
