"""Bodies in motion: joint angles of a walker, paths of people in a street."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from statespace.datasets.folder import Split, check_split, locate
from statespace.errors import InputError, expected

__all__ = ["mocap", "pedestrians"]

SCENES = {"eth": "biwi_eth.txt", "zara01": "crowds_zara01.txt"}
STRIDE = 10  # frames of video between annotations


def mocap(split: Split = "train") -> Tensor:
    """Walks of subject 35 of the CMU motion capture library, 50 joint angles and velocities.

    Read from `mocap35_train_valid.npz` (arrays `train` and `valid`) in the folder that
    `STATESPACE_DATA` names.

    Args:
        split: "train" (16 walks) or "valid" (3 walks).

    Returns:
        The walks, `(walks, 300, 50)`, float32.

    Raises:
        DataError: The file is not there.
        InputError: `split` is neither of the two.

    Source:
        Carnegie Mellon University Graphics Lab, Motion Capture Database, subject 35; preprocessed
        by J. M. Wang, D. J. Fleet and A. Hertzmann (2008), Gaussian process dynamical models for
        human motion, IEEE TPAMI 30, 283-298; split by C. Yildiz, M. Heinonen and H. Lahdesmaki
        (2019), ODE2VAE, NeurIPS.
    """
    check_split(split)
    path = locate(
        "mocap35_train_valid.npz",
        "Fetch mocap35.mat from the repository of ODE2VAE (Yildiz, Heinonen and Lahdesmaki 2019) "
        "and store its training and validation walks as arrays `train` and `valid`.",
    )
    with np.load(path, allow_pickle=False) as file:
        return torch.from_numpy(file[split])


def pedestrians(scene: Literal["eth", "zara01"] = "eth") -> list[Tensor]:
    """Paths of people seen from above, 2.5 positions a second, in metres.

    Read from `biwi_eth.txt` or `crowds_zara01.txt` (columns frame, person, x, y) in the folder
    that `STATESPACE_DATA` names.

    Args:
        scene: "eth" (in front of a university building in Zurich) or "zara01" (a shopping
            street in Nicosia).

    Returns:
        One `(T, 2)` tensor of positions per person, in the order of the person's number, float64;
        NaN in rows where the person was not seen between two frames in which it was.

    Raises:
        DataError: The file is not there.
        InputError: `scene` is neither of the two.

    Source:
        S. Pellegrini, A. Ess, K. Schindler and L. van Gool (2009), You'll never walk alone,
        International Conference on Computer Vision; A. Lerner, Y. Chrysanthou and D. Lischinski
        (2007), Crowds by example, Computer Graphics Forum 26, 655-664.
    """
    if scene not in SCENES:
        wanted = " or ".join(f'"{known}"' for known in SCENES)
        raise InputError(expected("scene", wanted, repr(scene), "Choose one of the two."))
    path = locate(
        SCENES[scene],
        f"Fetch {SCENES[scene]} (columns frame, person, x, y) from the ETH and UCY data as "
        "published with Social GAN (Gupta et al. 2018).",
    )
    table = np.loadtxt(path, ndmin=2)
    return [_walk(table[table[:, 1] == person]) for person in np.unique(table[:, 1])]


def _walk(rows: np.ndarray) -> Tensor:
    """The positions of one person on the regular grid of annotated frames."""
    row = np.rint((rows[:, 0] - rows[:, 0].min()) / STRIDE).astype(int)
    walk = np.full((row.max() + 1, 2), np.nan)
    walk[row] = rows[:, 2:4]
    return torch.from_numpy(walk)
