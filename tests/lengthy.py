"""Systems with as many rows as are asked for, and how far apart two results are."""

from __future__ import annotations

import torch
from torch import Tensor

from statespace.gaussian import Gaussian
from statespace.inference.lineargaussian import System
from statespace.linalg import Covariance

KINDS = ["complete", "gaps", "varying", "diffuse", "ragged", "a blank row"]


def lengthy(
    rows: int, kind: str, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> tuple[System, Tensor, Tensor, Tensor]:
    """A system, and rows of three series: complete, with gaps, ragged, of a row never seen."""
    g = torch.Generator().manual_seed(rows)

    def r(*s: int) -> Tensor:
        return torch.randn(*s, generator=g, dtype=torch.float64).to(device, dtype)

    lead = (rows,) if kind == "varying" else ()
    a = 0.9 * torch.linalg.qr(r(*lead, 3, 3))[0]
    roots = [Covariance.from_root(x) for x in (r(*lead, 3, 1), r(*lead, 2, 2))]
    flat = torch.tensor([True, False, False], device=device) if kind == "diffuse" else None
    unit = torch.eye(3, dtype=dtype, device=device)
    keep = 1.0 if flat is None else (~flat).to(dtype)
    prior = Gaussian(r(3), Covariance.from_matrix(unit * keep), flat)
    varies = frozenset("AQCR") if lead else frozenset()
    system = System(a, r(3), roots[0], r(*lead, 2, 3), r(2), roots[1], prior, varies)
    y, seen = r(3, rows, 2), torch.ones(3, rows, 2, dtype=torch.bool, device=device)
    on = seen[..., 0].clone()
    if kind in ("gaps", "varying", "diffuse"):
        seen = (torch.rand(3, rows, 2, generator=g) > 0.3).to(device)
    if kind == "a blank row":
        seen[:, rows // 2] = False
    if kind == "ragged":
        on[1, rows // 2 + 1 :] = False
        seen = seen & on[..., None]
    return system, torch.where(seen, y, 0.0), seen, on


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference beside the largest number, where b is finite; inf must agree."""
    assert a.shape == b.shape
    assert torch.equal(torch.isfinite(a), torch.isfinite(b))
    a, b = a[torch.isfinite(b)], b[torch.isfinite(b)]
    if not b.numel():
        return 0.0
    return float((a - b).abs().max() / b.abs().max().clamp_min(1.0))
