"""Data sets: the classics are what the literature prints, readers read, absence is told."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from statespace import datasets
from statespace.errors import DataError, InputError

CLASSICS = [
    # name, shape, first, last, sum over time of the first column, first and last period
    ("nile", (100, 1), 1120.0, 740.0, 91935.0, "1871", "1970"),
    ("sunspots", (289, 1), 5.0, 100.2, 14049.3, "1700", "1988"),
    ("lynx", (114, 1), 269.0, 3396.0, 175334.0, "1821", "1934"),
    ("air_passengers", (144, 1), 112.0, 432.0, 40363.0, "1949-01", "1960-12"),
    ("uk_seatbelts", (192, 8), 107.0, 154.0, 23578.0, "1969-01", "1984-12"),
]
READERS = [
    datasets.jsb_chorales,
    datasets.nottingham,
    datasets.piano_midi,
    datasets.mocap,
    datasets.pedestrians,
    datasets.cascaded_tanks,
    datasets.silverbox,
    datasets.tiny_shakespeare,
    datasets.names,
    datasets.eng_fra,
    datasets.sunspots_monthly,
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that STATESPACE_DATA names."""
    monkeypatch.setenv("STATESPACE_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("name", "shape", "first", "last", "total", "begin", "end"), CLASSICS)
def test_a_classic_is_complete(name, shape, first, last, total, begin, end):
    """A shipped classic has its published length, ends, sum and dates, in float64, no gaps."""
    y = getattr(datasets, name)()
    assert y.shape == shape
    assert y.dtype == torch.float64
    assert y.isfinite().all()
    assert (y[0, 0].item(), y[-1, 0].item()) == (first, last)
    assert y[:, 0].sum().item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(("name", "shape", "first", "last", "total", "begin", "end"), CLASSICS)
def test_a_frame_holds_the_tensor(name, shape, first, last, total, begin, end):
    """`frame=True` gives the same numbers under a PeriodIndex without gaps."""
    read = getattr(datasets, name)
    frame = read(frame=True)
    assert np.array_equal(frame.to_numpy(), read().numpy())
    assert isinstance(frame.index, pd.PeriodIndex)
    assert frame.index.equals(pd.period_range(begin, end, freq=frame.index.freq, name="time"))


def test_known_rows():
    """The drop of the Nile in 1899 and the start of the seat belt law stand in their places."""
    nile = datasets.nile(frame=True)["flow"]
    assert (nile["1898"], nile["1899"]) == (1100.0, 774.0)
    law = datasets.uk_seatbelts("law", frame=True)["law"]
    assert law.idxmax() == pd.Period("1983-02")
    assert law.sum() == 23


def test_columns_come_in_the_order_asked_for():
    """Columns are chosen by name; one name gives one column."""
    y = datasets.uk_seatbelts()
    assert torch.equal(datasets.uk_seatbelts(["law", "drivers"]), y[:, [7, 1]])
    assert torch.equal(datasets.uk_seatbelts("rear"), y[:, [3]])


def test_the_caller_may_write_on_a_data_set():
    """Each call reads afresh: changing what one call gave does not change the next."""
    datasets.nile().zero_()
    assert datasets.nile()[0] == 1120.0


def test_an_unknown_column_is_refused():
    """The sentence names the argument, the columns there are, and what came."""
    with pytest.raises(InputError, match=r"`columns`.*drivers_killed, drivers.*'driver'"):
        datasets.uk_seatbelts("driver")


@pytest.mark.parametrize("read", READERS)
def test_absence_is_told(read, folder, monkeypatch):
    """Without the file, and without the folder, one sentence says what to fetch and from where."""
    with pytest.raises(DataError, match=r"`STATESPACE_DATA`: .* holds none\. Fetch .* (from|of) "):
        read()
    monkeypatch.delenv("STATESPACE_DATA")
    with pytest.raises(DataError, match="not set"):
        read()


def test_piano_rolls(folder):
    """Packed frames unpack to the keys that were set, piece by piece."""
    rolls = np.zeros((5, 88), dtype=np.uint8)
    rolls[[0, 1, 4], [0, 39, 87]] = 1
    packed, none = np.packbits(rolls, axis=1), np.zeros((0, 11), dtype=np.uint8)
    np.savez(
        folder / "jsb_chorales_train_valid.npz",
        train_frames=packed,
        train_lengths=np.array([2, 3], dtype=np.int32),
        valid_frames=none,
        valid_lengths=np.array([], dtype=np.int32),
    )
    first, second = datasets.jsb_chorales()
    assert first.dtype == torch.float32
    assert torch.equal(torch.cat([first, second]), torch.from_numpy(rolls).float())
    assert len(first) == 2
    assert datasets.jsb_chorales("valid") == []
    with pytest.raises(InputError, match="`split`"):
        datasets.jsb_chorales("test")


def test_mocap(folder):
    """The two parts are handed over as they are stored."""
    walks = np.random.default_rng(1).normal(size=(2, 3, 50)).astype(np.float32)
    np.savez(folder / "mocap35_train_valid.npz", train=walks, valid=walks[:1])
    assert np.array_equal(datasets.mocap().numpy(), walks)
    assert datasets.mocap("valid").shape == (1, 3, 50)


def test_pedestrians(folder):
    """One path per person, on the grid of annotated frames; a frame left out is NaN."""
    rows = "780\t2.0\t8\t3\n790\t1.0\t5\t6\n790\t2.0\t9\t3\n810\t1.0\t7\t6\n"
    (folder / "biwi_eth.txt").write_text(rows)
    one, two = datasets.pedestrians("eth")
    assert torch.equal(two, torch.tensor([[8.0, 3.0], [9.0, 3.0]], dtype=torch.float64))
    assert torch.equal(one[[0, 2]], torch.tensor([[5.0, 6.0], [7.0, 6.0]], dtype=torch.float64))
    assert one[1].isnan().all()
    with pytest.raises(InputError, match="`scene`"):
        datasets.pedestrians("hotel")


def test_systems(folder):
    """Inputs and outputs are not exchanged, and the two experiments of the tanks kept apart."""
    tanks = '"uEst","uVal","yEst","yVal","Ts",\n1,2,3,4,4,\n5,6,7,8,,\n\n'
    (folder / "cascaded_tanks.csv").write_text(tanks)
    (folder / "silverbox.csv").write_text('"V1","V2",\n1,2,\n3,4,\n')
    assert [x[:, 0].tolist() for x in datasets.cascaded_tanks()] == [[1.0, 5.0], [3.0, 7.0]]
    validation = datasets.cascaded_tanks("validation")
    assert [x[:, 0].tolist() for x in validation] == [[2.0, 6.0], [4.0, 8.0]]
    assert [x[:, 0].tolist() for x in datasets.silverbox()] == [[1.0, 3.0], [2.0, 4.0]]
    with pytest.raises(InputError, match="`part`"):
        datasets.cascaded_tanks("test")


def test_text(folder):
    """Characters are numbered in the order of the alphabet; names and pairs keep their order."""
    (folder / "tinyshakespeare.txt").write_text("abba\n")
    y, alphabet = datasets.tiny_shakespeare()
    assert y.shape == (5, 1)
    assert y.dtype == torch.int64
    assert "".join(alphabet[k] for k in y[:, 0]) == "abba\n"

    (folder / "names").mkdir()
    (folder / "names" / "Polish.txt").write_text("Górka\nBroż \n", encoding="utf-8")
    (folder / "names" / "Greek.txt").write_text("Adamou\n")
    assert datasets.names() == {"Greek": ["Adamou"], "Polish": ["Górka", "Broż"]}
    assert list(datasets.names()) == ["Greek", "Polish"]

    (folder / "eng_fra_small.tsv").write_text("i m ok\tca va\ni m fat\tje suis gras\n")
    assert datasets.eng_fra() == [("i m ok", "ca va"), ("i m fat", "je suis gras")]


def test_sunspots_monthly(folder):
    """The third column of the file, as `(T, 1)`."""
    (folder / "sunspots.csv").write_text("rownames,time,value\n1,1749,58\n2,1749.083,62.6\n")
    y = datasets.sunspots_monthly()
    assert torch.equal(y, torch.tensor([[58.0], [62.6]], dtype=torch.float64))
