"""What was not observed of a row, from what was: of its noise, and of y given all of the data."""

from __future__ import annotations

import torch
from torch import Tensor

from statespace.inference.lineargaussian.system import System

__all__ = ["imputation", "imputed_cov", "imputed_mean"]


def imputation(noise: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """L and Cov(v | v_o) of each row, float64 (*, T, m, m); `noise` is R.

    E[v | v_o] = L v_o, with v_o zero where not seen.
    """
    some = seen.double()
    eye = torch.eye(seen.shape[-1], dtype=noise.dtype, device=noise.device)
    unseen = 1 - some
    inner = some[..., :, None] * some[..., None, :]
    if bool((noise == noise * eye).all()):
        return eye * inner, noise * eye * unseen[..., None]
    sd = noise.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    unit = torch.where(sd > 0, sd, torch.ones_like(sd))
    scaled = noise / unit[..., :, None] / unit[..., None, :]
    oo = scaled * inner + eye * unseen[..., None]
    lower, info = torch.linalg.cholesky_ex(oo)
    pivots = lower.diagonal(dim1=-2, dim2=-1)
    if bool(((info == 0) & (pivots > 1e-6).all(-1)).all()):
        inverse = torch.cholesky_inverse(lower)
    else:
        inverse = torch.linalg.pinv(oo, hermitian=True, rtol=1e-12)
    mo = unseen[..., :, None] * scaled * some[..., None, :]
    k = mo @ inverse  # zero outside rows missing, columns observed
    rest = unseen[..., :, None] * scaled * unseen[..., None, :] - k @ mo.mT
    rest = 0.5 * (rest + rest.mT) * unit[..., :, None] * unit[..., None, :]
    return eye * inner + k * unit[..., :, None] / unit[..., None, :], rest


def imputed_mean(system: System, y: Tensor, observed: Tensor, mean: Tensor) -> Tensor:
    """E[y_t given y], (*batch, T, m): what was observed, and the imputation of the rest.

    With v the noise of a row and h, o its entries that are hidden and observed,
    E[y_h] = C_h E[z] + d_h + R_ho R_oo^+ E[v_o], where E[v_o] = y_o - C_o E[z] - d_o.

    Args:
        system: Its matrices may vary in time.
        y: Observations (*batch, T, m).
        observed: Which of them count, (*batch, T, m).
        mean: E[z_t given y], (*batch, T, n).
    """
    c, d, noise = _rows(system)
    level = (c @ mean[..., None])[..., 0] + d
    residual = torch.where(observed, y - level, 0.0)
    fill = imputation(noise.double(), observed)[0].to(mean)
    return torch.where(observed, y, level + (fill @ residual[..., None])[..., 0])


def imputed_cov(system: System, observed: Tensor, cov: Tensor) -> Tensor:
    """Its covariance, (*batch, T, m, m): zero where it was observed.

    With M = C_h - R_ho R_oo^+ C_o, M Var[z] M' + R_hh - R_ho R_oo^+ R_oh.
    """
    c, _, noise = _rows(system)
    fill, rest = (x.to(cov) for x in imputation(noise.double(), observed))
    m = c - fill @ (c * observed[..., None])
    hidden = (~observed).to(cov)
    return (m @ cov @ m.mT + rest) * hidden[..., :, None] * hidden[..., None, :]


def _rows(system: System) -> tuple[Tensor, Tensor, Tensor]:
    """C, d and R with an axis of time."""
    c, d, r = system.C, system.d, system.R.matrix
    c = c if "C" in system.varies else c.unsqueeze(-3)
    d = d if "d" in system.varies else d.unsqueeze(-2)
    return c, d, r if "R" in system.varies else r.unsqueeze(-3)
