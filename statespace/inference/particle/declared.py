"""The parameters of a declared model as the compiled loops want them, and what was observed.

A model is declared where `GaussianLatent.network` says what its densities are: the loops then run
without them, on the same random numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from statespace.interface import Context, GaussianLatent
from statespace.interface.families import Network
from statespace.kernels import CODES
from statespace.kernels.particle_tables import Net, Seen
from statespace.sequences import Sequences

__all__ = ["Declared", "declared"]

_LOG_2PI = math.log(2 * math.pi)
_PATTERNS = 2**20  # numbers in whitening matrices, one for each pattern of what is missing


class Declared:
    """A problem as arrays.

    Attributes:
        net, seen: See the tables of the kernels.
    """

    def __init__(self, net: Net, seen: Seen) -> None:
        self.net, self.seen = net, seen


def declared(model: Any, data: Sequences, t: int) -> Declared | None:
    """The problem from row t on, or None: where the model is not declared, or not served.

    Served are float64 on the CPU, named activations, proper starts, regular R. A gradient is not.
    """
    if not isinstance(model, GaussianLatent) or model.reads or model.dtype != torch.float64:
        return None
    if data.values.device.type != "cpu" or model.device.type != "cpu":
        return None
    rows = torch.arange(t, t + data.T)
    ctx = Context(rows, data.inputs, data.inputs[..., :0])
    network = model.network(ctx)
    if network is None or not (network.transition.name and network.emission.name):
        return None
    if network.prior.diffuse is not None and bool(network.prior.diffuse.any()):
        return None
    if torch.is_grad_enabled() and any(x.requires_grad for x in _tensors(network)):
        return None
    with torch.no_grad():
        return _arrays(network, data)


def _tensors(network: Network) -> list[Tensor]:
    channels = [network.dynamics, network.readout]
    out = [network.prior.mean, network.prior.covariance.root]
    for channel in channels:
        out += [channel.weight, channel.bias, channel.noise.root]
    if network.log_scale is not None:
        out += [network.log_scale.weight, network.log_scale.bias]
    return out


def _arrays(network: Network, data: Sequences) -> Declared | None:
    batch, dynamics, readout = data.batch_shape, network.dynamics, network.readout

    def lay(channel: Any, name: str, x: Tensor, rank: int) -> NDArray[Any]:
        """(series, T, *event), either axis 1 where nothing differs along it."""
        x = x if name in channel.varies else x.unsqueeze(-rank - 1)
        return _laid(x, rank + 1, batch)

    r = lay(readout, "noise", readout.noise.matrix, 2)
    patterns = _patterns(data, r)
    if patterns is None:
        return None
    m, n = readout.weight.shape[-2:]
    scale = network.log_scale
    e, f = np.empty((1, 0, m, n)), np.empty((1, 0, m))
    if scale is not None:
        e, f = lay(scale, "weight", scale.weight, 2), lay(scale, "bias", scale.bias, 1)
    pattern, whiten, constant, some = patterns
    net = Net(
        _laid(network.prior.mean, 1, batch),
        _laid(_wide(network.prior.covariance.root), 2, batch),
        lay(dynamics, "weight", dynamics.weight, 2),
        lay(dynamics, "bias", dynamics.bias, 1),
        lay(dynamics, "noise", _wide(dynamics.noise.root), 2),
        lay(readout, "weight", readout.weight, 2),
        lay(readout, "bias", readout.bias, 1),
        e, f, r, whiten, constant, some,
        CODES[network.transition.name],
        CODES[network.emission.name],
    )  # fmt: skip
    y = torch.where(data.observed, data.values, torch.zeros_like(data.values))
    y = y.expand(*batch, data.T, m).reshape(-1, data.T, m).contiguous()
    lengths = data.lengths.expand(batch).reshape(-1).contiguous()
    return Declared(net, Seen(y.numpy(), pattern, lengths.numpy()))


def _wide(root: Tensor) -> Tensor:
    """A root with a column at least: no noise at all is one of zeros, as `GaussianRoot` has it."""
    return root if root.shape[-1] else root.new_zeros(*root.shape[:-1], 1)


def _laid(x: Tensor, rank: int, batch: torch.Size) -> NDArray[Any]:
    """(*batch, *event) -> (series, *event), or (1, *event) where all series have the same."""
    lead, event = x.shape[: x.dim() - rank], x.shape[x.dim() - rank :]
    if lead.numel() > 1:
        x = x.expand(*batch, *event)
    out: NDArray[Any] = x.reshape(-1, *event).contiguous().numpy()
    return out


def _patterns(
    data: Sequences, r: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    """Which entries of a row are observed, under which R, and what to whiten them with.

    Returns:
        (series, T) numbers of patterns, -1 where nothing is observed; whitening matrices
        (patterns, m, m), constants (patterns,) and which entries there are (patterns, m). None
        where some R is singular, or patterns are too many.
    """
    (sets, times, m, _), rows = r.shape, data.T
    seen = data.observed.expand(*data.batch_shape, rows, m).reshape(-1, rows, m).numpy()
    own = np.arange(len(seen) if sets > 1 else 1)[:, None] * times
    which = np.broadcast_to(own + np.arange(rows if times > 1 else 1), seen.shape[:2])
    count = sets * times
    pattern = np.where(seen.any(-1), which, -1).astype(np.int64)
    partly = seen.any(-1) & ~seen.all(-1)
    masks, of_r = np.ones((count, m), bool), np.arange(count)
    if partly.any():
        found = np.concatenate([which[partly][:, None], seen[partly]], 1)
        unique, number = np.unique(found, axis=0, return_inverse=True)
        pattern[partly] = count + number.reshape(-1)
        masks = np.concatenate([masks, unique[:, 1:] > 0])
        of_r = np.concatenate([of_r, unique[:, 0]])
    if masks.size * m > max(_PATTERNS, 2 * r.size):
        return None
    some = masks.astype(np.float64)
    both = some[:, :, None] * some[:, None, :]
    whole = r.reshape(-1, m, m)[of_r] * both + (1 - some)[:, :, None] * np.eye(m)
    try:
        lower = np.linalg.cholesky(whole)
    except np.linalg.LinAlgError:
        return None
    diagonal = lower.diagonal(axis1=-2, axis2=-1)
    whiten = np.linalg.inv(lower) * both
    constant = -np.log(diagonal).sum(-1) - 0.5 * _LOG_2PI * some.sum(-1)
    return pattern, np.ascontiguousarray(whiten), constant, some
