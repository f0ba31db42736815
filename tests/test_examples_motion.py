"""The example on walks, in small: made series of joints that hang together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import motion_capture

    return motion_capture


def made(series: int, rows: int = 60) -> torch.Tensor:
    """Four joints that follow one phase, each series at a pace of its own."""
    g = torch.Generator().manual_seed(series)
    pace = 0.1 + 0.02 * torch.rand(series, 1, generator=g)
    phase = torch.arange(rows) * pace + 6 * torch.rand(series, 1, generator=g)
    lag = torch.tensor([0.0, 0.5, 1.0, 2.0])
    y = torch.sin(phase[..., None] + lag) + 0.05 * torch.randn(series, rows, 4, generator=g)
    return y.double()


def test_all_of_it_in_small(example, monkeypatch, tmp_path, capsys):
    """One comparison, what was imputed, the table on its page, the figure."""
    for name, value in (("JOINTS", (0, 1)), ("GAP", slice(20, 24)), ("START", 30), ("HORIZON", 6)):
        monkeypatch.setattr(example, name, value)
    monkeypatch.setattr(example, "pieces", lambda y, rows: y.unflatten(1, (-1, 30)).flatten(0, 1))
    page, picture = tmp_path / "page.md", tmp_path / "walks.png"
    page.write_text("a <!-- motion -->old<!-- end of motion --> b", encoding="utf-8")
    data = example.Walks(made(6), made(2))
    found, errors = example.main(page, picture, data=data, sizes=(2,), steps=2, horizon=50)
    names = {"LDS(2)", "LSTM", "DKF", "VRNN"}
    assert {entry.name for entry in found} == set(errors) == names
    said = page.read_text(encoding="utf-8")
    assert "old" not in said
    assert all(f"| {name} |" in said for name in (*names, "a straight line across"))
    assert picture.stat().st_size > 10_000
    assert errors["LDS(2)"] < 0.3
    assert "exact log-likelihoods" in capsys.readouterr().out


def test_a_line_across_the_gap_passes_through_what_is_known(example):
    y = torch.arange(260.0).repeat(2, 1)[..., None].expand(2, 260, 3).double()
    hidden = torch.zeros(y.shape, dtype=torch.bool)
    hidden[:, example.GAP, ::2] = True
    torch.testing.assert_close(example.line_across(y, hidden), y)
    assert example.error(y + 2, y, hidden) == pytest.approx(2)


def test_pieces_are_the_rows_of_walks(example):
    y = made(2, 150)
    cut = example.pieces(y, 75)
    assert cut.shape == (4, 75, 4)
    assert torch.equal(cut[1], y[0, 75:])
