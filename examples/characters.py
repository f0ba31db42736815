"""Shakespeare, character by character: an LSTM that reads what it wrote, beside n-grams.

    python examples/characters.py --write docs/deep.md

The first nine tenths of the text are learned from, the last tenth is held out and looked at once,
at the end. For learning the text is cut into parallel streams, one below the other: an update
reads the next window of each, the memory is carried from window to window, and gradients end at
the window's beginning (truncated back-propagation through time). The held-out part is *one*
series, which goes on from the memory of the training text: its log-likelihood is exact.

The baseline is interpolated Kneser-Ney (`characters_ngrams.py`), at the length of context that is
best on the held-out part itself: it is given an advantage.

The text is read from the folder that the environment variable STATESPACE_DATA names. A fit that
was interrupted goes on where it was: `--folder` keeps its checkpoint, the model and the results.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from characters_ngrams import bits
from deep_runs import kept, put, spending, spent
from torch import Tensor

import statespace as ss

BEFORE = 1000  # characters of the training text that are read before the held-out ones
SHOWN = 400


@dataclass(frozen=True)
class Text:
    """Characters as numbers, (T, 1) int64; number k stands for alphabet[k]."""

    train: Tensor
    held_out: Tensor
    alphabet: str

    def spell(self, y: Tensor) -> str:
        """Numbers as characters."""
        return "".join(self.alphabet[k] for k in y.flatten().tolist())


@dataclass(frozen=True)
class Recipe:
    """Sizes of the network and of its training.

    Attributes:
        hidden_dim, embedding_dim, dropout: Of the network.
        streams: Into how many the text is cut.
        window: Characters of each stream in one update.
        steps: Updates.
        lr: The learning rate, which falls to zero as a cosine does.
        longest: The longest context of the n-grams.
    """

    hidden_dim: int = 384
    embedding_dim: int = 64
    dropout: float = 0.2
    streams: int = 32
    window: int = 100
    steps: int = 3000
    lr: float = 3e-3
    longest: int = 7


def shakespeare() -> Text:
    """Its first nine tenths, and the rest."""
    y, alphabet = ss.datasets.tiny_shakespeare()
    end = int(0.9 * len(y))
    return Text(y[:end], y[end:], alphabet)


def streams(y: Tensor, number: int) -> Tensor:
    """A long series (T, m) as parallel ones, (number, T // number, m), without the remainder."""
    rows = len(y) // number
    return y[: number * rows].reshape(number, rows, -1)


def learned(text: Text, recipe: Recipe, folder: Path) -> ss.AutoregressiveRNN:
    """The network after training."""
    model = ss.AutoregressiveRNN(
        1,
        hidden_dim=recipe.hidden_dim,
        cell="lstm",
        family="categorical",
        num_categories=len(text.alphabet),
        embedding_dim=recipe.embedding_dim,
        dropout=recipe.dropout,
        seed=0,
    )
    learner = ss.Gradient(
        recipe.steps,
        lr=recipe.lr,
        schedule="cosine",
        window=recipe.window,
        clip=1.0,
        checkpoint=folder / "lstm.checkpoint",
    )
    with spending(folder / "lstm.seconds"):
        model.fit(streams(text.train, recipe.streams), learner=learner, seed=0)
    return model


def judged(model: ss.AutoregressiveRNN, text: Text, recipe: Recipe) -> dict[str, Any]:
    """Bits per held-out character, beside those of n-grams, and what the network writes."""
    state = model.filter(text.train[-BEFORE:], keep="last").state
    score = model.score(text.held_out, state=state)
    grams = bits(text.train[:, 0], text.held_out[:, 0], len(text.alphabet), recipe.longest)
    return {
        "bits": -score.per_step / math.log(2),
        "kind": score.kind,
        "characters": score.n_steps,
        "ngrams": grams,
        "hidden_dim": recipe.hidden_dim,
        "parameters": model.num_params,
        "sample": text.spell(model.sample(SHOWN, state=state, seed=0).y),
    }


def said(row: Mapping[str, Any]) -> str:
    """What the page says."""
    best = min(range(len(row["ngrams"])), key=row["ngrams"].__getitem__)
    lines = ["| model | bits per character, held out | numbers learned | minutes |"]
    lines += ["|---|---:|---:|---:|"]
    for k in (0, 1, 2, best):
        name = f"Kneser-Ney, contexts of up to {k}" if k else "characters alone"
        lines.append(f"| {name} | {row['ngrams'][k]:.3f} | | |")
    lines.append(
        f"| `AutoregressiveRNN`, LSTM of {row['hidden_dim']} | {row['bits']:.3f} "
        f"| {row['parameters']:,} | {row['minutes']:.0f} |"
    )
    lines += ["", "What it writes after the training text, one draw:", "", "```text"]
    return "\n".join([*lines, row["sample"].strip("\n"), "```"])


def main(
    folder: Path = Path("characters"),
    page: Path | None = None,
    *,
    recipe: Recipe | None = None,
    text: Text | None = None,
) -> dict[str, Any]:
    """Fits, unless the results are there, and says how it went."""
    torch.set_num_threads(1)  # the steps of a recurrence are small
    recipe, text = recipe or Recipe(), text or shakespeare()
    store = folder / "characters.json"
    if "lstm" not in kept(store):
        model = learned(text, recipe, folder)
        model.save(folder / "lstm")
        row = judged(model, text, recipe) | {"minutes": spent(folder / "lstm.seconds") / 60}
        kept(store, lstm=row)
    row = kept(store)["lstm"]
    for k, value in enumerate(row["ngrams"]):
        print(f"Kneser-Ney, contexts of up to {k}: {value:.3f} bits per character")
    print(f"LSTM: {row['bits']:.3f} ({row['kind']}, {row['characters']} characters)")
    print(row["sample"])
    if page is not None:
        put(page, "characters", said(row))
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("characters"), help="of what is kept")
    parser.add_argument("--write", type=Path, default=None, help="the page that holds the table")
    asked = parser.parse_args()
    main(asked.folder, asked.write)
