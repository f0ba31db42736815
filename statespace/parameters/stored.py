"""A parameter as plain values and tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from statespace.errors import StorageError, expected
from statespace.parameters.declare import Declaration, Fixed, Param, Varying
from statespace.parameters.priors import InverseWishart, Normal
from statespace.parameters.slot import Slot

__all__ = ["describe_slot", "fill_slot", "stored_declaration"]


def describe_slot(slot: Slot) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What JSON holds, and tensors: "held", "theta" if set, and those of a prior."""
    record: dict[str, Any] = {
        "varies": slot.varies,
        "labels": slot.pattern.labels.tolist() if slot.n_free else None,
        "set": slot.is_set,
    }
    tensors = {"held": slot.held}
    if slot.theta is not None:
        tensors["theta"] = slot.theta
    if isinstance(slot.prior, Normal):
        record["prior"] = {"kind": "normal"}
        tensors |= {"prior.mean": slot.prior.mean, "prior.sd": slot.prior.sd}
    elif isinstance(slot.prior, InverseWishart):
        record["prior"] = {"kind": "inverse wishart", "df": float(slot.prior.df)}
        tensors |= {"prior.scale": slot.prior.scale}
    return record, tensors


def stored_declaration(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Declaration:
    """The declaration of a stored parameter, without start values (see `fill_slot`).

    Raises:
        KeyError: a field or a tensor is missing.
    """
    held = tensors["held"]
    if record["labels"] is None:
        return Varying(held) if record["varies"] else Fixed(held)
    labels = torch.tensor(record["labels"], dtype=torch.int64)
    prior: Normal | InverseWishart | None = None
    if "prior" in record:
        if record["prior"]["kind"] == "normal":
            prior = Normal(tensors["prior.mean"], tensors["prior.sd"])
        else:
            prior = InverseWishart(record["prior"]["df"], tensors["prior.scale"])
    param = Param(held, free=labels != 0, labels=labels, prior=prior, start=False)
    return Varying(param) if record["varies"] else param


def fill_slot(slot: Slot, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Puts the stored numbers into a slot made from `stored_declaration`, bit for bit.

    Raises:
        KeyError: a tensor is missing.
        StorageError: a tensor does not fit the declaration.
    """
    learned = bool(record["set"]) and slot.n_free > 0
    held, theta = tensors["held"], tensors["theta"] if learned else None
    rank = len(slot.event)
    fits = tuple(held.shape[held.dim() - rank :]) == slot.event and held.dtype == slot.held.dtype
    if theta is not None:
        fits = fits and theta.shape[-1:] == (slot.n_free,) and theta.dtype == held.dtype
    if not fits:
        raise StorageError(
            expected(
                slot.name,
                f"tensors for shape {slot.event} with {slot.n_free} learned numbers",
                f"held {tuple(held.shape)} {held.dtype}"
                + (f", theta {tuple(theta.shape)} {theta.dtype}" if theta is not None else ""),
                "Restore the folder from a copy, or save the model again.",
            )
        )
    slot.adopt(held, theta)
