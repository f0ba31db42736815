"""Dropout acts while a learner climbs, and nowhere else."""

import pytest
import torch

from statespace.errors import InputError
from statespace.interface import climbing
from statespace.nn import Dropout


def test_nothing_happens_in_a_verb():
    x = torch.ones(3, 5, 4)
    layer = Dropout(0.5)
    assert layer.training
    assert torch.equal(layer(x), x)


def test_while_a_learner_climbs_entries_are_left_out_and_the_mean_stays():
    torch.manual_seed(0)
    x = torch.ones(200, 50, 8, dtype=torch.float64)
    with climbing():
        out = Dropout(0.25)(x)
    assert set(out.unique().tolist()) == {0.0, 1 / 0.75}
    # mean of 80000 draws with standard deviation sqrt(0.25 / 0.75): false alarm below 1e-6
    assert abs(float(out.mean()) - 1) < 5 * (0.25 / 0.75 / x.numel()) ** 0.5


def test_one_mask_for_all_rows():
    torch.manual_seed(0)
    with climbing():
        out = Dropout(0.5, rows=False)(torch.ones(6, 9, 4))
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert float(out.mean()) > 0
    assert len({tuple(row) for row in out[:, 0].tolist()}) > 1


@pytest.mark.parametrize("p", [-0.1, 1.0, True, "much"])
def test_shares_out_of_range(p):
    with pytest.raises(InputError, match="dropout"):
        Dropout(p)
