"""The baseline of `characters.py`: characters given the last few, by counts of all lengths.

    p_k(c | last k) = (n(last k, c) - d_k + d_k f(last k) p_{k-1}(c | last k - 1)) / n(last k)

interpolated Kneser-Ney (Chen and Goodman 1999, section 2.7): n counts in the longest context how
often a character followed, in shorter ones after how many different characters it did; f is how
many different ones followed; the discount is d_k = n_1 / (n_1 + 2 n_2), of counts of one and two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["bits", "codes"]


def codes(text: Tensor, size: int, length: int) -> Tensor:
    """The last `length` characters before and at each place as one number, (T - length + 1,).

    Args:
        text: (T,) int64.
        size: V, of the alphabet.
        length: At least one; V to this power must fit into 63 bits.
    """
    if length * math.log2(size) >= 63:
        raise ValueError(f"{length} characters of {size} kinds do not fit into 63 bits")
    found = torch.zeros(len(text) - length + 1, dtype=torch.int64)
    for k in range(length):
        found = found * size + text[k : k + len(found)]
    return found


@dataclass(frozen=True)
class Counts:
    """How often something was seen, by code in ascending order."""

    code: Tensor
    number: Tensor

    def of(self, code: Tensor) -> Tensor:
        """Zero for what was never seen."""
        at = torch.searchsorted(self.code, code).clamp_max(len(self.code) - 1)
        return torch.where(self.code[at] == code, self.number[at], 0).double()


def bits(train: Tensor, held_out: Tensor, size: int, longest: int) -> list[float]:
    """Bits per character of a text that goes on from another one.

    Args:
        train: What is counted, (T,) int64.
        held_out: What is predicted, (T',).
        size: V.
        longest: The longest context.

    Returns:
        For contexts of up to 0, 1, .., `longest` characters.
    """
    both = torch.cat([train[-longest:] if longest else train[:0], held_out])
    lower = torch.full((len(held_out),), 1 / size, dtype=torch.float64)
    found = []
    for k in range(longest + 1):
        grams = codes(both, size, k + 1)[longest - k :]
        p = _level(_counted(codes(train, size, k + 1)), grams, size, lower)
        found.append(-float(p.log2().mean()))
        if k < longest:  # as a shorter context, it counts what stood before it
            distinct = _counted(codes(train, size, k + 2)).code % size ** (k + 1)
            lower = _level(_counted(distinct), grams, size, lower)
    return found


def _counted(code: Tensor) -> Counts:
    return Counts(*torch.unique(code, return_counts=True))


def _level(seen: Counts, grams: Tensor, size: int, lower: Tensor) -> Tensor:
    """p_k of each gram, from the counts of grams and p_{k-1}."""
    once, twice = (float((seen.number == j).sum()) for j in (1, 2))
    discount = once / (once + 2 * twice) if once else 0.5
    context = seen.code // size
    whole, rank, kinds = torch.unique(context, return_inverse=True, return_counts=True)
    total = torch.zeros(len(whole), dtype=torch.int64).index_add_(0, rank, seen.number)
    before = grams // size
    n, f = Counts(whole, total).of(before), Counts(whole, kinds).of(before)
    own = (seen.of(grams) - discount).clamp_min(0) + discount * f * lower
    return torch.where(n > 0, own / n.clamp_min(1), lower)
