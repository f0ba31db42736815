"""The parts of the example on music, on small made pieces and, where they are there, on Bach."""

import math
import os
from pathlib import Path

import pytest
import torch

import statespace as ss

EXAMPLES = Path(__file__).parent.parent / "examples"
FOLDER = os.environ.get("STATESPACE_DATA")


@pytest.fixture
def data(monkeypatch):
    """The module of the example's data."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import music_data

    return music_data


def made(number: int, seed: int = 0) -> list[torch.Tensor]:
    """Pieces of 2 to 9 frames with some keys between 20 and 60."""
    generator = torch.Generator().manual_seed(seed)
    rolls = []
    for k in range(number):
        roll = torch.zeros(2 + k % 8, 88)
        roll[:, 20:60] = (torch.rand(len(roll), 40, generator=generator) < 0.1).float()
        rolls.append(roll)
    return rolls


def test_baselines_by_counting(data):
    """Log probabilities frame by frame, from counts taken in loops."""
    train, valid = made(6), made(4, seed=1)
    valid[0][0, 87] = 1.0  # never heard
    frames = [frame for roll in train for frame in roll]
    pairs = [(roll[t - 1], roll[t]) for roll in train for t in range(1, len(roll))]
    expected = {"static": 0.0, "markov": 0.0}
    for roll in valid:
        for t, frame in enumerate(roll):
            for key in range(88):
                share = (sum(float(f[key]) for f in frames) + 0.5) / (len(frames) + 1)
                chain = share
                if t:
                    after = [float(b[key]) for a, b in pairs if a[key] == roll[t - 1, key]]
                    chain = (sum(after) + 0.5) / (len(after) + 1)
                for name, p in (("static", share), ("markov", chain)):
                    expected[name] -= math.log(p if frame[key] else 1 - p)
    rows = sum(len(roll) for roll in valid)
    found = data.baselines(data.Music(train, valid))
    assert list(found.values()) == pytest.approx([v / rows for v in expected.values()])


@pytest.mark.skipif(
    FOLDER is None or not (Path(FOLDER) / "jsb_chorales_train_valid.npz").exists(),
    reason="needs the chorales in the folder that STATESPACE_DATA names",
)
def test_baselines_of_the_chorales(data):
    """The two numbers that every model is held against."""
    assert list(data.baselines(data.chorales()).values()) == pytest.approx(
        [10.95, 10.13], abs=0.005
    )


def test_transposed(data):
    """Every note moves by the shift; a piece whose notes would leave the keys is left out."""
    low = torch.zeros(2, 88)
    low[0, 3], low[1, 7] = 1, 1
    copies = data.transposed([low, torch.zeros(1, 88)], [-4, -3, 0, 80])
    notes = [copy.nonzero().tolist() for copy in copies]
    assert notes == [[[0, 0], [1, 4]], [[0, 3], [1, 7]], [[0, 83], [1, 87]], [], [], [], []]
    assert len(data.transposed(made(3))) == 36


def test_scored_pools_frames(data):
    """In parts as at once, in any order; nats are the negative mean over all frames."""
    rolls = made(7)
    model = ss.AutoregressiveRNN(88, family="bernoulli", hidden_dim=4, seed=0)
    score = data.scored(model, rolls, at_once=3)
    total = sum(float(model.log_likelihood(roll).detach()) for roll in rolls)
    assert score.kind == "exact"
    assert score.n_steps == sum(len(roll) for roll in rolls)
    assert data.nats(score) == pytest.approx(-total / score.n_steps, rel=1e-6)
