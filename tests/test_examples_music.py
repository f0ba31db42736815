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


@pytest.fixture
def example(data, monkeypatch):
    """The example with one small recipe, which learns from two keys."""
    import music

    def make():
        return ss.AutoregressiveRNN(88, family="bernoulli", hidden_dim=4, dropout=0.2, seed=0)

    def learner(checkpoint):
        return ss.Gradient(5, batch_size=4, checkpoint=checkpoint)

    monkeypatch.setattr(
        music, "RECIPES", {"small": music.Recipe("Small", make, learner, keys=(0, 1))}
    )
    threads = torch.get_num_threads()
    yield music
    torch.set_num_threads(threads)


def test_music(example, data, tmp_path, monkeypatch):
    """A row is fitted, stored, judged and written; then it is there, until it is asked for again.

    An interrupted fit goes on where it was, and its seconds are counted.
    """
    pieces = data.Music(made(6), made(4, seed=1))
    page, folder = tmp_path / "page.md", tmp_path / "runs"
    page.write_text("before <!-- music -->old<!-- end of music --> after", encoding="utf-8")
    plain, seen = ss.AutoregressiveRNN.fit, []

    def broken(self, y, **how):
        seen.append(len(y))
        plain(self, y, **how)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ss.AutoregressiveRNN, "fit", broken)
        with pytest.raises(KeyboardInterrupt):
            example.main(["small"], folder, page, music=pieces)
    assert seen == [12]
    spent = float((folder / "small.seconds").read_text(encoding="utf-8"))
    row = example.main(["small"], folder, page, music=pieces)["small"]
    assert row["minutes"] * 60 >= spent
    model = ss.load(folder / "small")
    total = sum(float(model.log_likelihood(roll).detach()) for roll in pieces.valid)
    assert row["valid"] == pytest.approx(-total / sum(map(len, pieces.valid)), rel=1e-6)
    assert (row["kind"], row["samples"]) == ("exact", None)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before")
    assert text.endswith("after")
    assert "old" not in text
    assert f"| Small | {row['valid']:.2f} | {row['train']:.2f} | exact |" in text
    assert f"| static Bernoulli | {data.baselines(pieces)['static Bernoulli']:.2f} |" in text

    def refused(*args):
        raise AssertionError("fitted again")

    with monkeypatch.context() as patch:
        patch.setattr(example, "learned", refused)
        assert example.main(["small"], folder, music=pieces)["small"] == row
        with pytest.raises(AssertionError, match="fitted again"):
            example.main(["small"], folder, music=pieces, again=True)
    assert not (folder / "small.seconds").exists()


def test_every_recipe_can_be_made(data, monkeypatch):
    """Models and learners as the table has them, at the first frames of a piece."""
    import music

    for name, recipe in music.RECIPES.items():
        model, learner = recipe.make(), recipe.learner(Path(name))
        assert learner.checkpoint is not None
        assert math.isfinite(data.scored(model, made(2), recipe.judged_by).value)
