"""Reading a stored model back."""

from __future__ import annotations

import os
from typing import Any

import statespace.models  # noqa: F401  (importing the models is what makes their names known)
from statespace.errors import InputTypeError, StorageError, expected
from statespace.files import lookup, read_folder
from statespace.interface import StateSpaceModel

__all__ = ["load"]


def load(path: str | os.PathLike[str], **functions: Any) -> StateSpaceModel:
    """The model that `save` wrote: numbers bit for bit, dtype, and what is learned, held or tied.

    Args:
        path: The folder.
        **functions: Functions and Modules of the user's, which are not stored, by the names
            under which the model was given them.

    Returns:
        The model, on the CPU.

    Raises:
        StorageError: nothing is stored there, a later version, a file missing or changed, or a
            function that the model needs was not handed over.
        InputTypeError: a function that the model does not know.

    Example:
        >>> import tempfile, os, statespace as ss
        >>> model = ss.LDS(1, 1, A=[[0.5]], C=[[1.0]], d=[0.0], Q=[[1.0]], R=[[2.0]],
        ...                initial="stationary")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "ar1"))
        ...     again = ss.load(os.path.join(folder, "ar1"))
        >>> again.initial_kind, again.A.tolist()
        ('stationary', [[0.5]])
    """
    record, tensors = read_folder(path)
    cls = lookup(str(record.get("model")))
    if not issubclass(cls, StateSpaceModel):
        raise StorageError(
            expected("path", "a stored model", f"a {cls.__name__}", "Load it where it was saved.")
        )
    needed = set(record.get("functions", ()))
    if needed - functions.keys():
        raise StorageError(
            expected(
                "functions",
                f"{', '.join(sorted(needed))}, which are not stored",
                f"{', '.join(sorted(functions)) or 'none'}",
                "Hand them over again: load(path, name=function).",
            )
        )
    if functions.keys() - needed:
        raise InputTypeError(
            expected(
                "functions",
                f"{', '.join(sorted(needed)) or 'no functions'} for {cls.__name__}",
                ", ".join(sorted(functions.keys() - needed)),
                "Leave them out.",
            )
        )
    return cls._restore(record, tensors, **functions)
