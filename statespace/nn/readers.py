"""What a network sees of numbers and of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Numbers", "Tokens", "moments_of", "reader_of"]


def moments_of(values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column over what was observed, float64.

    A column that does not move, or was never observed, has a standard deviation of 1.

    Args:
        values: (*, m).
        seen: (*, m) booleans.

    Example:
        >>> seen = torch.tensor([[True], [True], [False]])
        >>> mean, sd = moments_of(torch.tensor([[1.0], [3.0], [9.0]]), seen)
        >>> mean.item(), sd.item()
        (2.0, 1.0)
    """
    x, on = values.double(), seen.double()
    axes = tuple(range(x.dim() - 1))
    count = on.sum(axes).clamp_min(1)
    mean = (on * x).sum(axes) / count
    spread = ((on * (x - mean).square()).sum(axes) / count).sqrt()
    still = spread <= 1e-12 * mean.abs()
    return mean, torch.where(still, torch.ones_like(spread), spread)


class Numbers(nn.Module):
    """Numbers in units of the training data: (x - shift) / scale, 0 and 1 until they are known.

    Args:
        size: Columns.
        dtype: Of the two.

    Example:
        >>> units = Numbers(1)
        >>> units.learn(torch.tensor([[10.0], [14.0]]), torch.ones(2, 1))
        >>> units(torch.tensor([16.0]))
        tensor([2.])
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, size: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(size, dtype=dtype))
        self.register_buffer("scale", torch.ones(size, dtype=dtype))

    @property
    def width(self) -> int:
        """Features that come out."""
        return self.shift.shape[-1]

    def forward(self, x: Tensor) -> Tensor:
        """(*, m) -> (*, m)."""
        return (x.to(self.shift.dtype) - self.shift) / self.scale

    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Takes the units of some data."""
        mean, spread = moments_of(values, seen)
        self.shift.copy_(mean)
        self.scale.copy_(spread)

    def origin(self, batch_shape: torch.Size) -> Tensor:
        """What is seen as zero, (*batch, m)."""
        return self.shift.expand(*batch_shape, self.width)


class Tokens(nn.Module):
    """Tokens 0 .. V - 1 as learned vectors; V itself is the start symbol.

    Args:
        num_categories: V.
        width: Of a vector.
        dtype: Of the vectors.

    Example:
        >>> Tokens(4, 3)(torch.tensor([[0], [4]])).shape
        torch.Size([2, 3])
    """

    def __init__(self, num_categories: int, width: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.table = nn.Embedding(num_categories + 1, width, dtype=dtype)

    @property
    def width(self) -> int:
        """Features that come out."""
        return self.table.embedding_dim

    def forward(self, x: Tensor) -> Tensor:
        """(*, 1) int64 -> (*, width)."""
        found: Tensor = self.table(x[..., 0])
        return found

    def learn(self, values: Tensor, seen: Tensor) -> None:
        """Nothing: vectors have no units."""

    def origin(self, batch_shape: torch.Size) -> Tensor:
        """The start symbol, (*batch, 1)."""
        start = self.table.num_embeddings - 1
        device = self.table.weight.device
        return torch.full((*batch_shape, 1), start, dtype=torch.int64, device=device)


def reader_of(
    obs_dim: int, num_categories: int | None, width: int, dtype: torch.dtype
) -> Numbers | Tokens:
    """What reads y: numbers in units of the data, or tokens as vectors of some width."""
    if num_categories is None:
        return Numbers(obs_dim, dtype)
    return Tokens(num_categories, width, dtype)
