"""Start values of an LDS from data, in the scale of the data.

A and C by subspace identification where both are wanted, by principal components else; inputs and
offsets by least squares on the responses; the noise, and which of the two to take, by the exact
likelihood over a small grid. Given and held entries stay as they are.
"""

from statespace.models.lds.subspace.begin import start_values

__all__ = ["start_values"]
