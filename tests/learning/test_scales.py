"""Units of parameters, measured from themselves and from the curvature of the objective."""

from __future__ import annotations

import torch

import statespace as ss
from statespace.learning.scales import equilibrate, own_sizes


def test_own_sizes_follow_the_units_of_the_rows():
    """Scaling y by diag(c) scales the sizes of C's and R's rows by c, exactly in powers of two."""
    c = torch.tensor([2.0**-30, 1.0, 2.0**30], dtype=torch.float64)
    loadings = torch.tensor([[1.0, 0.0], [0.5, 2.0], [0.0, 0.3]], dtype=torch.float64)
    noise = torch.tensor([[1.0, 0.2, 0.0], [0.2, 2.0, 0.1], [0.0, 0.1, 0.5]], dtype=torch.float64)
    plain = ss.LDS(2, 3, C=loadings, R=noise)
    scaled = ss.LDS(2, 3, C=c[:, None] * loadings, R=c[:, None] * noise * c)
    for name, rows in (("C", [0, 0, 1, 1, 2, 2]), ("R", [0, 1, 1, 2, 2, 2])):
        a, b = own_sizes(plain.slots[name]), own_sizes(scaled.slots[name])
        torch.testing.assert_close(b, a * c[rows])
        assert bool((a > 0).all())


def test_equilibrated_curvature_is_near_one():
    """From guesses off by 1e6 either way, every row of the scaled Hessian has a norm near one."""
    g = torch.Generator().manual_seed(0)
    root = torch.randn(6, 9, generator=g, dtype=torch.float64)
    true = 10.0 ** torch.tensor([-8.0, -3.0, 0.0, 2.0, 5.0, 8.0], dtype=torch.float64)
    hessian = (root @ root.mT) / true[:, None] / true
    guess = true * 10.0 ** torch.tensor([6.0, -6.0, 3.0, 0.0, -3.0, 1.0], dtype=torch.float64)
    found = equilibrate(lambda x: hessian @ x, torch.zeros(6, dtype=torch.float64), guess, g)
    norms = (found[:, None] * hessian * found).norm(dim=-1)
    assert float(norms.min()) > 0.05
    assert float(norms.max()) < 20


def test_a_coordinate_without_effect_keeps_its_scale():
    """What the objective does not depend on is left alone."""

    def gradient(x):
        return torch.stack([4 * x[0], 0 * x[1]])

    start = torch.ones(2, dtype=torch.float64)
    found = equilibrate(gradient, torch.zeros(2, dtype=torch.float64), start, torch.Generator())
    assert found[1] == 1.0
    assert abs(float(found[0]) - 0.5) < 0.05
