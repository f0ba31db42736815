"""The best straight line through some data, from which a head begins."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Line"]


class Line(nn.Module):
    """W x + c at least squares, and how wide what it leaves is; 0 and 1 until they are known.

    The last number of x says whether the others are there; where it is 0 there is no line.

    It is a unit, as a mean and a standard deviation are, and is not learned further: what a
    network adds is counted in standard deviations of what the line leaves. Directions of x in
    which data hardly move, though they matter (positions and their small differences), are no
    obstacle for least squares, as they are for gradients. What it leaves counts as no less than
    the root of the precision, since rounding leaves more.

    Args:
        features: The width of x.
        size: m.
        dtype: Of the numbers.

    Example:
        >>> line = Line(2, 1)
        >>> x = torch.cat([torch.randn(50, 1), torch.ones(50, 1)], -1)
        >>> left = line.learn(x, 3 * x[:, :1] - 2, torch.ones(50, dtype=torch.bool))
        >>> line(torch.tensor([1.0, 1.0])).round(decimals=4), line(torch.tensor([1.0, 0.0]))
        (tensor([1.]), tensor([0.]))
    """

    weight: Tensor
    bias: Tensor
    residual: Tensor

    def __init__(self, features: int, size: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(size, features, dtype=dtype))
        self.register_buffer("bias", torch.zeros(size, dtype=dtype))
        self.register_buffer("residual", torch.ones(size, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(*, m); a small difference of large numbers, in full precision under autocast too."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.weight.dtype)
            return nn.functional.linear(x, self.weight, self.bias) * x[..., -1:]

    def size(self, x: Tensor, unit: Tensor) -> Tensor:
        """In what is counted what a network adds: `unit` where there is a line, elsewhere 1."""
        on = x[..., -1:].to(unit.dtype)
        return on * unit + (1 - on)

    @torch.no_grad()
    def learn(self, x: Tensor, y: Tensor, on: Tensor) -> Tensor | None:
        """Takes the line through some rows.

        Args:
            x: (*, features).
            y: (*, m).
            on: (*), which rows are used.

        Returns:
            What it leaves, (rows, m) float64; None where there are fewer than twice as many rows
            as features that move, so that nothing is taken.
        """
        x, y = x[on].double().cpu(), y[on].double().cpu()  # no driver for lost ranks elsewhere
        if not len(x):
            return None
        mean, spread = x.mean(0), x.std(0, correction=0)
        moving = spread > 1e-9 * (1 + mean.abs())
        if len(x) < 2 * (int(moving.sum()) + 1):
            return None
        x = (x[:, moving] - mean[moving]) / spread[moving]
        weight = torch.linalg.lstsq(x, y - y.mean(0), rcond=1e-10, driver="gelsd").solution.T
        left = y - y.mean(0) - x @ weight.T
        width = left.square().mean(0).sqrt()
        whole = torch.zeros(self.weight.shape, dtype=torch.float64)
        whole[:, moving] = weight / spread[moving]
        self.weight.copy_(whole)
        self.bias.copy_(y.mean(0) - whole @ mean)
        self.residual.copy_(width.clamp_min(torch.finfo(self.weight.dtype).eps ** 0.5))
        return left.to(self.weight.device)
