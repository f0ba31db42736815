"""The parts of the example on characters, on a small made text; n-grams counted in loops."""

import math
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

import statespace as ss

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def characters(monkeypatch):
    """The example as a module, beside the modules it imports."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import characters

    threads = torch.get_num_threads()
    yield characters
    torch.set_num_threads(threads)


def made(length: int, seed: int = 0) -> torch.Tensor:
    """A text over four letters in which some follow others more often, (T,)."""
    generator = torch.Generator().manual_seed(seed)
    letters = [0]
    for coin in torch.rand(length - 1, generator=generator).tolist():
        letters.append((letters[-1] + 1) % 4 if coin < 0.7 else int(40 * coin) % 4)
    return torch.tensor(letters)


def kneser_ney(train: list[int], size: int, k: int, own: bool = True):
    """p(c | last k) as a function of a gram (last k, c), by dictionaries."""
    if k < 0:
        return lambda gram: 1 / size
    grams = Counter(tuple(train[i : i + k + 1]) for i in range(len(train) - k))
    if not own:  # after how many different characters
        longer = {tuple(train[i : i + k + 2]) for i in range(len(train) - k - 1)}
        grams = Counter(gram[1:] for gram in longer)
    once, twice = (sum(n == j for n in grams.values()) for j in (1, 2))
    d = once / (once + 2 * twice) if once else 0.5
    lower = kneser_ney(train, size, k - 1, own=False)

    def p(gram):
        after = [n for other, n in grams.items() if other[:-1] == gram[:-1]]
        if not after:
            return lower(gram[1:])
        left = d * len(after) * lower(gram[1:])
        return (max(grams[gram] - d, 0) + left) / sum(after)

    return p


def test_ngrams_by_counting(characters):
    """Every order against dictionaries; probabilities of all characters add up to one."""
    from characters_ngrams import bits, codes

    train, held_out = made(150), made(30, seed=1)
    found = bits(train, held_out, 4, 3)
    both, t = train.tolist() + held_out.tolist(), len(train)
    for k in range(4):
        p = kneser_ney(train.tolist(), 4, k)
        logs = [math.log2(p(tuple(both[i - k : i + 1]))) for i in range(t, len(both))]
        assert found[k] == pytest.approx(-sum(logs) / len(logs))
    for k in range(4):
        chances = [2 ** -bits(train, torch.tensor([c]), 4, k)[k] for c in range(4)]
        assert sum(chances) == pytest.approx(1)
    assert codes(torch.tensor([1, 2, 3, 0]), 4, 2).tolist() == [6, 11, 12]
    with pytest.raises(ValueError, match="63 bits"):
        codes(train, 65, 11)


def test_streams_lie_one_below_the_other(characters):
    """Each goes on from the one above it; the remainder is left out."""
    found = characters.streams(torch.arange(11)[:, None], 3)
    assert found[..., 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_characters(characters, tmp_path, monkeypatch):
    """Fitted, stored, judged and written; then it is there. Bits against single steps."""
    text = characters.Text(made(400)[:, None], made(40, seed=1)[:, None], "abcd")
    recipe = characters.Recipe(
        hidden_dim=6, embedding_dim=3, streams=4, window=9, steps=25, longest=2, dropout=0.1
    )
    page, folder = tmp_path / "page.md", tmp_path / "runs"
    page.write_text("a <!-- characters -->old<!-- end of characters --> z", encoding="utf-8")
    monkeypatch.setattr(characters, "BEFORE", 30)
    row = characters.main(folder, page, recipe=recipe, text=text)
    model = ss.load(folder / "lstm")
    state, total = model.start(), 0.0
    for t, y in enumerate(torch.cat([text.train[-30:], text.held_out])):
        state, info = model.step(state, y)
        total += float(info.increment) if t >= 30 else 0.0
    assert row["bits"] == pytest.approx(-total / 40 / math.log(2), rel=1e-5)
    assert (row["kind"], row["characters"], len(row["sample"])) == ("exact", 40, 400)
    assert row["bits"] < 2  # four letters, some of them expected
    written = page.read_text(encoding="utf-8")
    assert written.startswith("a ")
    assert written.endswith(" z")
    assert "old" not in written
    assert f"| `AutoregressiveRNN`, LSTM of 6 | {row['bits']:.3f} |" in written
    assert row["sample"].strip("\n") in written
    best = min(row["ngrams"])
    assert f"contexts of up to {row['ngrams'].index(best)} | {best:.3f} |" in written
    monkeypatch.setattr(characters, "learned", None)
    assert characters.main(folder, recipe=recipe, text=text) == row


@pytest.mark.skipif(
    not (Path(os.environ.get("STATESPACE_DATA", "")) / "tinyshakespeare.txt").exists(),
    reason="needs the text in the folder that STATESPACE_DATA names",
)
def test_shakespeare(characters):
    """Nine tenths to learn from; what Kneser-Ney makes of the rest."""
    from characters_ngrams import bits

    text = characters.shakespeare()
    assert (len(text.train), len(text.held_out)) == (1003854, 111540)
    assert text.spell(text.train[:13]) == "First Citizen"
    found = bits(text.train[:, 0], text.held_out[:, 0], len(text.alphabet), 5)
    assert min(found) == found[5] == pytest.approx(2.248, abs=0.001)
