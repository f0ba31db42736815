"""Which series an update sees: batches of similar lengths, so that little of them is padding."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["batches"]

_POOL = 8  # batches whose series are put in order of length together


def batches(lengths: Tensor, size: int, generator: Generator) -> list[Tensor]:
    """One pass over all series in random batches; each series is in one of them.

    Series of one length are in a random order. Others are dealt at random into pools of a few
    batches, in order of length inside each pool, and the batches come in a random order. A batch
    is then no random sample, since long series sit together; but any of a pass is as likely as
    any other to be the next, so that sums over a batch, divided by the size of an average one,
    have the right mean.

    Args:
        lengths: Rows of each series, (N, ...).
        size: Series in a batch; the last one may have fewer.
        generator: Of the order.

    Returns:
        Positions on the first axis.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> lengths = torch.tensor([9, 2, 8, 3])
        >>> sorted(lengths[part].tolist() for part in batches(lengths, 2, g))
        [[2, 3], [8, 9]]
    """
    rows = lengths.reshape(len(lengths), -1).amax(1)
    device = generator.device
    order = torch.randperm(len(rows), generator=generator, device=device).to(rows.device)
    if bool((rows == rows[0]).all()):
        return list(order.split(size))
    pools = (pool[rows[pool].argsort(stable=True)] for pool in order.split(_POOL * size))
    parts = [part for pool in pools for part in pool.split(size)]
    again = torch.randperm(len(parts), generator=generator, device=device)
    return [parts[i] for i in again.tolist()]
