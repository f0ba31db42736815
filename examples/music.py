"""Bach's chorales, 88 keys on or off in each quarter note: how many nats a frame costs.

    python examples/music.py --write docs/deep.md

Models learn from the 229 training chorales, some of them from copies in other keys, and are kept
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
from pathlib import Path
from typing import Any

import torch
from deep_runs import kept, put, spending, spent
from music_data import Music, baselines, chorales, nats, scored, transposed
from music_recipes import RECIPES, Recipe
from torch import Tensor

import statespace as ss
from statespace.interface import Method


def learned(name: str, recipe: Recipe, music: Music, folder: Path) -> dict[str, Any]:
    """Fits, stores and judges one model; what the table says of it."""
    clock, train = folder / f"{name}.seconds", transposed(music.train, recipe.keys)
    model = recipe.make()
    with spending(clock):
        if recipe.first is not None:
            model = begun(model, *recipe.first, train, music.valid, folder / f"{name}-first")
        learner = recipe.learner(folder / f"{name}.checkpoint")
        model.fit(train, validation=music.valid, method=recipe.method, learner=learner, seed=0)
    model.save(folder / name)
    return judged(model, recipe, music) | {"minutes": spent(clock) / 60}


def judged(model: ss.StateSpaceModel, recipe: Recipe, music: Music) -> dict[str, Any]:
    """What the table says of a model that was fitted."""
    score = scored(model, music.valid, recipe.judged_by)
    latent = recipe.judged_by is not None
    elbo = nats(scored(model, music.valid, ss.Variational(10))) if latent else math.nan
    return {
        "title": recipe.title,
        "valid": nats(score),
        "elbo": elbo,
        "stderr": score.stderr / score.n_steps,
        "train": nats(scored(model, music.train, recipe.judged_by)),
        "kind": score.kind,
        "samples": score.num_samples,
        "parameters": model.num_params,
    }


def begun(
    model: ss.StateSpaceModel,
    method: Method,
    learner: Callable[[Path], ss.Gradient],
    train: list[Tensor],
    valid: list[Tensor],
    place: Path,
) -> ss.StateSpaceModel:
    """The model after its first method, as it was stored if that is over."""
    if place.exists():
        return ss.load(place)
    how = learner(place.with_suffix(".checkpoint"))
    model.fit(train, validation=valid, method=method, learner=how, seed=0)
    model.save(place)
    return model


def table(base: Mapping[str, float], rows: Mapping[str, dict[str, Any]]) -> str:
    """Nats per frame of the validation chorales, the baselines first."""
    lines = [
        "| model | validation | training | kind | ELBO, validation | numbers learned "
        "| minutes of one processor |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    lines += [f"| {name} | {value:.2f} | | exact | | | |" for name, value in base.items()]
    for row in rows.values():
        error = "" if math.isnan(row["stderr"]) else f" ± {row['stderr']:.3f}"
        bound = "" if math.isnan(row["elbo"]) else f"{row['elbo']:.2f}"
        drawn = "" if row["samples"] is None else f", {row['samples']} samples"
        lines.append(
            f"| {row['title']} | {row['valid']:.2f}{error} | {row['train']:.2f} "
            f"| {row['kind']}{drawn} | {bound} | {row['parameters']:,} | {row['minutes']:.0f} |"
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
    found = {name: kept(store)[name] for name in RECIPES if name in kept(store)}
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
