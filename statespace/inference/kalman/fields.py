"""From the moments that a filter found to the fields of its record."""

from __future__ import annotations

from typing import Any

import torch

from statespace.inference.lineargaussian.filtered import Found
from statespace.results.keeping import last_labels
from statespace.sequences import Sequences
from statespace.shapes import row_at

__all__ = ["of_rows"]

_INNER = {
    "mean": 2, "cov": 3, "predicted_mean": 2, "predicted_cov": 3, "y_mean": 2, "y_cov": 3,
    "increments": 1,
}  # fmt: skip


def of_rows(found: Found, data: Sequences, skip: int, keep: str) -> dict[str, Any]:
    """The fields that have rows, and those that say which rows they are.

    Args:
        found: What `keep` holds of the moments.
        data: What was filtered.
        skip: Rows in front that are not the data's.
        keep: As in the verb.
    """
    fields: dict[str, Any] = {}
    for name, inner in _INNER.items():
        x = getattr(found, name)
        fields[name] = None if x is None else x.narrow(-inner, skip, x.shape[-inner] - skip)
    values, observed, active = data.values, data.observed, data.active
    which = {"lengths": data.lengths, "index": data.index}
    if keep == "last":
        at, rank = (data.lengths - 1).clamp_min(0), data.lengths.ndim
        values, observed, active = (row_at(x, at, rank) for x in (values, observed, active))
        which = {
            "lengths": data.lengths.clamp_max(1),
            "index": last_labels(data.index),
            "start": at,
        }
    gap = torch.full((), torch.nan, dtype=values.dtype, device=values.device)
    fields["innovations"] = torch.where(observed, values - fields["y_mean"], gap)
    if not bool(active.all()):
        fields["increments"] = fields["increments"].where(active, 0.0)
    return fields | which
