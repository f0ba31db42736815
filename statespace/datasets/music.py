"""Polyphonic music as piano rolls: which of the 88 keys sound in each frame.

Each set is one npz file with the arrays `train_frames`, `train_lengths`, `valid_frames` and
`valid_lengths`: the frames of all pieces one below the other, packed by `numpy.packbits` along
the keys to `(frames, 11)`, uint8, and how many of them each piece has.
"""

import numpy as np
import torch
from torch import Tensor

from statespace.datasets.folder import Split, check_split, locate

__all__ = ["jsb_chorales", "nottingham", "piano_midi"]

KEYS = 88  # of a piano; key 0 is MIDI note 21


def jsb_chorales(split: Split = "train") -> list[Tensor]:
    """Chorales of J. S. Bach: 229 to train on, 76 to validate with.

    Read from `jsb_chorales_train_valid.npz` in the folder that `STATESPACE_DATA` names.

    Args:
        split: "train" or "valid".

    Returns:
        One `(T, 88)` tensor of zeros and ones per piece, float32.

    Raises:
        DataError: The file is not there.
        InputError: `split` is neither of the two.

    Source:
        N. Boulanger-Lewandowski, Y. Bengio and P. Vincent (2012), Modeling temporal dependencies
        in high-dimensional sequences, International Conference on Machine Learning.
    """
    return _piano_rolls("jsb_chorales", "JSB Chorales", split)


def nottingham(split: Split = "train") -> list[Tensor]:
    """British and American folk tunes with chords: 694 to train on, 173 to validate with.

    Read from `nottingham_train_valid.npz`; arguments, result and source as for `jsb_chorales`.
    """
    return _piano_rolls("nottingham", "Nottingham", split)


def piano_midi(split: Split = "train") -> list[Tensor]:
    """Classical piano music: 87 pieces to train on, 12 to validate with.

    Read from `piano_midi_train_valid.npz`; arguments, result and source as for `jsb_chorales`.
    """
    return _piano_rolls("piano_midi", "Piano-midi.de", split)


def _piano_rolls(name: str, title: str, split: Split) -> list[Tensor]:
    check_split(split)
    path = locate(
        f"{name}_train_valid.npz",
        f"Fetch the {title} piano rolls of Boulanger-Lewandowski, Bengio and Vincent (2012) and "
        "pack them as help(statespace.datasets.music) describes.",
    )
    with np.load(path, allow_pickle=False) as file:
        frames, lengths = file[f"{split}_frames"], file[f"{split}_lengths"]
    rolls = np.unpackbits(frames, axis=1, count=KEYS).astype(np.float32)  # (all frames, 88)
    return list(torch.from_numpy(rolls).split(lengths.tolist()))
