"""Rows beside a memory: a scan is the loop over steps, from wherever it goes on."""

import pytest
import torch

import statespace as ss
from statespace.interface import Path
from statespace.nn import Beside, recurrent

Y = torch.randn(5, 14, 2, generator=torch.Generator().manual_seed(0)).double().cumsum(-2)


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_scan_is_a_loop(rows, cell):
    """Unequal lengths, shorter than what is shown too, and a memory that has seen rows before."""
    torch.manual_seed(0)
    path = Beside(recurrent(2, 3, cell, layers=2, dtype=torch.float64), rows)
    x, lengths = torch.randn(4, 6, 2, dtype=torch.float64), torch.tensor([6, 4, 1, 0])
    memory = path.step(path.start((4,), ()), torch.randn(4, 2, dtype=torch.float64))
    end, h = path.scan(memory, x, lengths)
    by_steps, rows_of_h = Path.scan(path, memory, x, lengths)
    for one, other in zip(end, by_steps, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    for k, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(h[k, :length], rows_of_h[k, :length], rtol=1e-12, atol=1e-12)


def test_what_is_shown_are_the_last_rows():
    path = Beside(recurrent(1, 3, "gru", dtype=torch.float64), 3)
    x = torch.arange(1.0, 6.0, dtype=torch.float64)[:, None]
    _, h = path.scan(path.start((), ()), x, torch.tensor(5))
    shown = [[1, 0, 0, 0], [2, 1, 0, 0], [3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 1]]
    assert h[:, 3:].tolist() == shown


@pytest.mark.parametrize("name", ["VRNN", "SRNN", "LSTMStateSpace"])
def test_a_straight_line_needs_no_cell(name):
    """With skip, what is linear in the last two rows is learned by a memory of two numbers."""

    def bound(skip: int) -> float:
        model = getattr(ss, name)(2, 2, hidden_dim=2, skip=skip, dtype=torch.float64, seed=0)
        fit = model.fit(Y, learner=ss.Gradient(150, lr=2e-2), seed=0)
        return fit.log_likelihood

    assert bound(2) > bound(0)
