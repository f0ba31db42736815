"""A covariance as a parameter: learned through the entries of a root, block by block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespace.errors import InputError, expected
from statespace.linalg import Covariance, lq, psd_root, quadratic
from statespace.parameters.blocks import Block, Blocks, blocks_of, nonzero_anywhere
from statespace.parameters.declare import Param
from statespace.parameters.pattern import Pattern, normal_form, pattern_of, shared
from statespace.parameters.priors import InverseWishart, Normal
from statespace.parameters.slot import Slot

__all__ = ["CovarianceSlot"]


class CovarianceSlot(Slot):
    """P = S S' on learned blocks, P as given on held ones; `theta` are entries of the root S.

    A learned standard deviation may reach 0 and cross it: P does not see the sign. Note that at
    exactly 0 the gradient vanishes, as it does for every parametrisation of a variance that can
    reach 0.
    """

    blocks: Blocks
    _held_block: Tensor
    _partly_held: bool

    # ------------------------------------------------------------------ building

    def _pattern(self, param: Param | None) -> Pattern:
        if param is None or param.structure == "identity":
            return super()._pattern(param)
        pattern = pattern_of(self.name, param, self.event)
        if param.labels is None and param.structure == "full":
            found: Pattern = _symmetric(pattern)
            return found
        if param.labels is not None:
            return Pattern(_mirrored(pattern, torch.as_tensor(param.labels)))
        return pattern

    def _read(self, raw: Any, dtype: torch.dtype, device: torch.device | None) -> Tensor:
        value = super()._read(raw, dtype, device)
        psd_root(value.detach(), self.name)  # refuses what is no covariance
        return value

    def _settle(self) -> None:
        self.blocks = blocks_of(self.name, self.pattern, self.held)
        index, sign = self.blocks.root.index, self.blocks.root.sign
        self._index, self._sign = index.to(self.held.device), sign.to(self.held)
        self._partly_held = self.blocks.partly_held
        self._diagonal = self.blocks.diagonal
        mask = self.blocks.held.to(self.held.device)
        self.register_buffer("_held_block", mask, persistent=False)
        self._cache: tuple[Tensor, Tensor] | None = None

    def _check_prior(self) -> None:
        if isinstance(self.prior, Normal):
            raise InputError(
                expected(
                    self.name,
                    "an InverseWishart prior on a covariance",
                    "a Normal",
                    "Use statespace.parameters.InverseWishart.",
                )
            )
        if self.prior is not None and not bool(self.pattern.free.diagonal().all()):
            raise InputError(
                expected(
                    self.name,
                    "a covariance learned as a whole beside a prior",
                    "variances that are held",
                    "Free them, or leave the prior out.",
                )
            )

    # ------------------------------------------------------------------ reading

    @property
    def reads_held(self) -> bool:
        """Whether P hangs on `held`."""
        return self.n_free == 0 or self._partly_held

    def covariance(self) -> Covariance:
        """P and a root of it, (*batch, [T,] n, n)."""
        if self.n_free == 0:
            return Covariance(self.held, self._held_root())
        root = self._spread(self._learned())
        if not self._partly_held:
            return Covariance(quadratic(root), root, self._diagonal)
        matrix = torch.where(self._held_block, self.held, quadratic(root))
        return Covariance(matrix, root + self._held_root(), self._diagonal)

    def value(self) -> Tensor:
        """P, (*batch, [T,] n, n)."""
        return self.held if self.n_free == 0 else self.covariance().matrix

    def pull(self, theta: Tensor, gradient: Tensor) -> Tensor:
        """See `Slot.pull`; dS = (G + G') S for P = S S', none of it from held blocks."""
        both = gradient + gradient.mT
        if self._partly_held:
            both = both.masked_fill(self._held_block, 0)
        return super().pull(theta, both @ self._spread(theta))

    def entries(self) -> Tensor:
        """The (co)variances that `names` names, (*batch, [T,] n_free)."""
        return self.value().flatten(-2)[..., self.blocks.entries.to(self.held.device)]

    def basis(self) -> tuple[Tensor, Tensor]:
        """(base, M) with vec(P) = base + M entries(): linear in the (co)variances."""
        order = self.pattern.index[self.blocks.entries]  # number of the pattern, by entry
        return self.held.flatten(-2), self.pattern.matrix(self.held)[:, order.to(self.held.device)]

    linear_basis = basis

    def names(self) -> list[str]:
        """After entries of the lower triangle, "Q[1,0]"."""
        n = self.event[0]
        names = [f"[{i // n},{i % n}]" for i in self.blocks.entries.tolist()]
        rows = [""] if self.num_rows is None else [f"[t={t}]" for t in range(self.num_rows)]
        return [f"{self.name}{t}{entry}" for t in rows for entry in names]

    def log_prior(self) -> Tensor:
        """Log density of an InverseWishart, up to its constant, (*batch,); zero without one."""
        if not isinstance(self.prior, InverseWishart):
            return self.held.new_zeros(self.batch_shape)
        log = self.prior.log_prob(self.value())
        return log.sum(-1) if self.varies else log

    def _held_root(self) -> Tensor:
        """A root of the held blocks, zero elsewhere; kept while the held numbers are the same.

        Numbers are compared, because `.data` changes them without counting a version.
        """
        held, cache = self.held.detach(), self._cache
        if cache is not None and _alike(cache[0], held):
            return cache[1]
        with torch.inference_mode(False), torch.no_grad():  # it may serve outside later
            live = nonzero_anywhere(held).any(0).nonzero()[:, 0]
            root = torch.zeros_like(held)
            if len(live):
                small = psd_root(held[..., live[:, None], live], self.name)
                root[..., live[:, None], live] = small
        self._cache = (held.clone(), root)
        return root

    # ------------------------------------------------------------------ writing

    def _project(self, value: Tensor) -> Tensor:
        """The root's numbers for a covariance that obeys structure and ties: means over ties.

        Given second moments, that is the maximum-likelihood estimate.
        """
        theta = value.new_zeros(*value.shape[:-2], self.n_free)
        for group in self.blocks.twins:
            parts = [value[..., _grid(b)[0], _grid(b)[1]] for b in group]
            mean = torch.stack(parts).mean(0) if len(parts) > 1 else parts[0]
            mean = 0.5 * (mean + mean.mT)
            theta[..., list(group[0].theta)] = _numbers(group[0], mean, self.name)
        return theta


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)


def _grid(block: Block) -> tuple[Tensor, Tensor]:
    rows = torch.tensor(block.rows)
    return rows[:, None], rows


def _numbers(block: Block, p: Tensor, name: str) -> Tensor:
    """Theta of one block from its covariance (*, k, k)."""
    k = len(block.rows)
    if block.kind == "full":
        if k == 1:
            return p.clamp_min(0).sqrt()[..., 0]
        lower = lq(psd_root(p, name))
        rows, cols = torch.tril_indices(k, k)
        return lower[..., rows, cols]
    variance = p.diagonal(dim1=-2, dim2=-1).mean(-1)
    covariance = (p.sum((-2, -1)) - k * variance) / (k * (k - 1))
    common = (variance + (k - 1) * covariance).clamp_min(0).sqrt()
    apart = (variance - covariance).clamp_min(0).sqrt()
    return torch.stack([(common + (k - 1) * apart) / k, (common - apart) / k], -1)


@shared
def _symmetric(pattern: Pattern) -> Pattern:
    """Mirrored entries are one number."""
    rows = torch.arange(len(pattern.labels), device="cpu")
    low, high = torch.minimum(rows[:, None], rows), torch.maximum(rows[:, None], rows)
    return Pattern(normal_form(pattern.free, high * len(rows) + low + 1))


def _mirrored(pattern: Pattern, labels: Tensor) -> Tensor:
    """Mirrored entries without a label are one number all the same."""
    signed = pattern.labels
    own = (labels == 0) & (signed != 0)
    rows = torch.arange(len(signed))
    mirrored = torch.where(rows[:, None] <= rows, signed, signed.mT)
    return normal_form(signed != 0, torch.where(own, mirrored, signed))
