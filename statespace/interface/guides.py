"""Guides: densities of z given the data, learned beside a model."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn
from torch.distributions import Distribution

from statespace.beliefs import Tree
from statespace.interface.arguments import Checked
from statespace.interface.values import Context
from statespace.sequences import Sequences

__all__ = ["Guide"]


class Guide(nn.Module, metaclass=Checked):
    """q(z_t | z_{t-1}, h_t, e_t), where e = encode(data, h) is computed once per verb.

    Attributes:
        causal: e_t looks at y up to t only: the guide may then propose in a filter.
        reads: What `forward` looks at, of {"z", "h"}; where it reads nothing, and not the prior
            either, all z are drawn at once.
        reads_prior: Whether `forward` looks at the prior; where it does not, it may be given
            None.
    """

    causal: bool = False
    reads: frozenset[str] = frozenset({"z", "h"})
    reads_prior: bool = True

    @property
    def chained(self) -> bool:
        """Whether `chain` draws all rows; it is quicker than `forward` row by row."""
        return False

    def chain(self, z: Tensor, e: Tree, h: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draws z_t = m_t + s_t noise_t of all rows, with their means and scales.

        Args:
            z: z_0, (*batch, n).
            e: Leaves (*batch, T, .).
            h: The memory's, (*batch, T, H).
            noise: Standard normal numbers, (*batch, T, n).
        """
        raise NotImplementedError

    @abstractmethod
    def encode(self, data: Sequences, h: Tensor) -> Tree:
        """e, leaves (*batch, T, .).

        Args:
            data: What was observed; where not, a harmless number stands.
            h: The memory's, (*batch, T, H); zero wide where the memory reads z.
        """

    def encode_on(self, data: Sequences, h: Tensor, memory: Tree) -> tuple[Tree, Tree]:
        """`encode` for data that go on where others ended; a causal guide that remembers says how.

        Args:
            data: The rows that go on.
            h: The memory's, as in `encode`.
            memory: Where the guide stood, leaves (*batch, .); () at the beginning.

        Returns:
            e, and where the guide stands at each series' end.
        """
        return self.encode(data, h), ()

    @abstractmethod
    def forward(self, z: Tree, e: Tree, ctx: Context, prior: Distribution) -> Distribution:
        """The proposal; `prior` is there to be returned, shifted or multiplied.

        At the first row z is the origin, and `prior` is the initial density.
        """
