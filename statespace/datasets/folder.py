"""Where the data sets lie that do not ship with the package."""

import os
from pathlib import Path
from typing import Literal

from statespace.errors import DataError, InputError, expected

__all__ = ["VARIABLE", "Split", "check_split", "locate"]

VARIABLE = "STATESPACE_DATA"
Split = Literal["train", "valid"]


def locate(name: str, fetch: str) -> Path:
    """The path of a file or folder below the folder that `STATESPACE_DATA` names.

    Args:
        name: Name of the file or folder.
        fetch: What to fetch and from where, if it is not there: an imperative sentence.

    Raises:
        DataError: The variable is not set, or nothing of that name lies in its folder.
    """
    folder = os.environ.get(VARIABLE)
    if folder and (path := Path(folder) / name).exists():
        return path
    received = f"{folder!r}, which holds none" if folder else "nothing: it is not set"
    raise DataError(expected(VARIABLE, f"a folder that holds {name}", received, fetch))


def check_split(split: str) -> None:
    """Refuses a part of a data set that does not exist.

    Raises:
        InputError: `split` is neither "train" nor "valid".
    """
    if split not in ("train", "valid"):
        todo = "Choose one of the two; test parts are left to a last, single use."
        raise InputError(expected("split", '"train" or "valid"', repr(split), todo))
