"""Bach's chorales, 88 keys on or off in each quarter note: how many nats a frame costs.

    python examples/music.py --rows lstm --write docs/deep.md

Models learn from the 229 training chorales, most of them from copies in twelve keys, and are kept
where the 76 validation chorales are most probable. Numbers are pooled over all frames of those
76; each stands beside its kind (exact, an estimate, a bound) and the number of particles or paths
it took. Two baselines come first: keys that sound as often as they do, and keys each of which is
a Markov chain of its own. Both know nothing of chords.

The chorales are read from the folder that the environment variable STATESPACE_DATA names. A fit
that was interrupted goes on where it was (`--folder` keeps its checkpoint, the model and the
results); a row that is there already is not fitted again, unless `--again` is given.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from deep_runs import kept, put, spending, spent
from music_data import KEYS, Music, baselines, chorales, nats, scored, transposed

import statespace as ss
from statespace.interface import Method


@dataclass(frozen=True)
class Recipe:
    """One row of the table: a model, how it is learned and by what it is judged.

    Attributes:
        title: What it is.
        make: Builds it.
        learner: The learner, given the file of its checkpoint.
        method: What it climbs; the model's own choice if None.
        judged_by: What its numbers are; the model's own if None.
        keys: Semitones by which the training chorales are moved.
    """

    title: str
    make: Callable[[], ss.StateSpaceModel]
    learner: Callable[[Path], ss.Gradient]
    method: Method | None = None
    judged_by: Method | None = None
    keys: Sequence[int] = range(-5, 7)


def lstm() -> ss.StateSpaceModel:
    """Told its own output: exact."""
    return ss.AutoregressiveRNN(
        KEYS, hidden_dim=300, cell="lstm", family="bernoulli", dropout=0.3, seed=0
    )


def lstm_learner(checkpoint: Path) -> ss.Gradient:
    """About thirty passes over all copies."""
    return ss.Gradient(
        5000,
        lr=3e-3,
        optimizer="adamw",
        weight_decay=1e-2,
        schedule="cosine",
        batch_size=16,
        checkpoint=checkpoint,
    )


RECIPES: dict[str, Recipe] = {
    "lstm": Recipe("`AutoregressiveRNN`, LSTM of 300", lstm, lstm_learner),
}


def learned(name: str, recipe: Recipe, music: Music, folder: Path) -> dict[str, Any]:
    """Fits, stores and judges one model; what the table says of it."""
    clock, train = folder / f"{name}.seconds", transposed(music.train, recipe.keys)
    model = recipe.make()
    with spending(clock):
        learner = recipe.learner(folder / f"{name}.checkpoint")
        model.fit(train, validation=music.valid, method=recipe.method, learner=learner, seed=0)
    model.save(folder / name)
    score = scored(model, music.valid, recipe.judged_by)
    return {
        "title": recipe.title,
        "valid": nats(score),
        "stderr": score.stderr / score.n_steps,
        "train": nats(scored(model, music.train, recipe.judged_by)),
        "kind": score.kind,
        "samples": score.num_samples,
        "parameters": model.num_params,
        "minutes": spent(clock) / 60,
    }


def table(base: Mapping[str, float], rows: Mapping[str, dict[str, Any]]) -> str:
    """Nats per frame of the validation chorales, the baselines first."""
    lines = [
        "| model | nats per frame, validation | training | kind | numbers learned "
        "| minutes of one processor |",
        "|---|---:|---:|---|---:|---:|",
    ]
    lines += [f"| {name} | {value:.2f} | | exact | | |" for name, value in base.items()]
    for row in rows.values():
        error = "" if math.isnan(row["stderr"]) else f" ± {row['stderr']:.3f}"
        drawn = "" if row["samples"] is None else f", {row['samples']} samples"
        lines.append(
            f"| {row['title']} | {row['valid']:.2f}{error} | {row['train']:.2f} "
            f"| {row['kind']}{drawn} | {row['parameters']:,} | {row['minutes']:.0f} |"
        )
    return "\n".join(lines)


def main(
    rows: Sequence[str] = tuple(RECIPES),
    folder: Path = Path("music"),
    page: Path | None = None,
    *,
    again: bool = False,
    music: Music | None = None,
) -> dict[str, dict[str, Any]]:
    """Fits the rows that are not there yet, and writes the table of all that are."""
    torch.set_num_threads(1)  # the steps of a recurrence are small
    music = chorales() if music is None else music
    base = baselines(music)
    for name, value in base.items():
        print(f"{name}: {value:.3f} nats per frame")
    store = folder / "music.json"
    for name in rows:
        if again or name not in kept(store):
            for old in folder.glob(f"{name}.*") if again else ():
                old.unlink()
            kept(store, **{name: learned(name, RECIPES[name], music, folder)})
        row = kept(store)[name]
        print(f"{row['title']}: {row['valid']:.3f} nats per frame ({row['kind']})")
    found = {name: row for name, row in kept(store).items() if name in RECIPES}
    if page is not None:
        put(page, "music", table(base, found))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--folder", type=Path, default=Path("music"), help="of what is kept")
    parser.add_argument("--write", type=Path, default=None, help="the page that holds the table")
    parser.add_argument("--again", action="store_true", help="fit rows that are there already")
    asked = parser.parse_args()
    main(asked.rows, asked.folder, asked.write, again=asked.again)
