"""A folder that holds a record (JSON) and its tensors (safetensors); written whole or not at all.

    NAME/model.json                 the record, with the format's version and the tensors' file
    NAME/tensors-<digest>.safetensors

The tensors are written first, under a name that no earlier version has; then the record, which
names them, is put in place by one rename. Until that rename the folder still holds what it held,
so a failure loses nothing; after it, the old tensors are removed. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor

from statespace.errors import StorageError, expected

__all__ = ["VERSION", "lookup", "name_of", "read_folder", "register", "write_folder"]

FORMAT = "statespace"
VERSION = 1
RECORD = "model.json"

_Class = TypeVar("_Class", bound=type)
_registry: dict[str, type] = {}


def register(name: str) -> Callable[[_Class], _Class]:
    """Class decorator: gives a class the name under which it is stored.

    Example:
        >>> @register("an example")
        ... class Example: ...
        >>> lookup("an example").__name__
        'Example'
    """

    def enter(cls: _Class) -> _Class:
        known = _registry.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise StorageError(
                expected("name", "a name of its own", f"{name!r}, which is {known}", "Rename it.")
            )
        _registry[name] = cls
        return cls

    return enter


def lookup(name: str) -> type:
    """The class stored under a name.

    Raises:
        StorageError: nobody registered the name.
    """
    if name not in _registry:
        raise StorageError(
            expected(
                "path",
                f"a model that is known here ({', '.join(sorted(_registry))})",
                repr(name),
                "Import the module that defines it before loading.",
            )
        )
    return _registry[name]


def name_of(cls: type) -> str:
    """The name under which a class is stored.

    Raises:
        StorageError: it has none.
    """
    for name, known in _registry.items():
        if known is cls:
            return name
    raise StorageError(
        expected(
            "model",
            f"a class with a name for storage ({', '.join(sorted(_registry))})",
            cls.__name__,
            "Decorate the class with statespace.files.register, and give it _describe, _restore.",
        )
    )


def write_folder(
    path: str | os.PathLike[str], record: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Path:
    """Writes a record and its tensors; replaces what was stored there before, in one step.

    Args:
        path: The folder; made, with its parents, if it is not there.
        record: What JSON can hold.
        tensors: Stored bit for bit, with their dtypes, from any device.

    Returns:
        The folder.

    Raises:
        StorageError: the path is a file or a folder of something else, or cannot be written.
    """
    folder = Path(path)
    _check_place(folder)
    packed = safetensors.torch.save(
        {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    )
    digest = hashlib.sha256(packed).hexdigest()
    file = f"tensors-{digest[:16]}.safetensors"
    whole = {
        "format": FORMAT,
        "version": VERSION,
        **record,
        "tensors": {"file": file, "sha256": digest},
    }
    text = json.dumps(whole, indent=1, allow_nan=False, sort_keys=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _put(folder / file, packed)
        _put(folder / RECORD, text.encode("utf-8"))
        for old in folder.glob("tensors-*.safetensors"):
            if old.name != file:
                old.unlink()
    except OSError as error:
        raise StorageError(
            expected("path", "a folder that can be written", str(error), "Choose another place.")
        ) from error
    return folder


def _check_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise StorageError(
            expected("path", "a folder", f"the file {str(folder)!r}", "Choose another name.")
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).exists():
        raise StorageError(
            expected(
                "path",
                "a new folder, or one that holds a stored model",
                f"{str(folder)!r}, which holds other files",
                "Choose another name.",
            )
        )


def _put(target: Path, content: bytes) -> None:
    """To a temporary file beside the target, to the disk, then renamed."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_folder(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads back what `write_folder` wrote.

    Raises:
        StorageError: nothing is stored there, it is of another format or a later version, or a
            file is missing, cut short or changed.
    """
    folder = Path(path)
    record = _read_record(folder)
    listed = record.pop("tensors", None)
    if not isinstance(listed, dict) or not {"file", "sha256"} <= listed.keys():
        raise _broken(folder / RECORD, "it names no tensors")
    file = folder / Path(str(listed["file"])).name
    try:
        packed = file.read_bytes()
    except OSError as error:
        raise _broken(file, str(error.strerror).lower()) from error
    if hashlib.sha256(packed).hexdigest() != listed["sha256"]:
        raise _broken(file, f"its {len(packed)} bytes are not those that were written")
    try:
        return record, safetensors.torch.load(packed)
    except safetensors.SafetensorError as error:
        raise _broken(file, str(error)) from error


def _read_record(folder: Path) -> dict[str, Any]:
    if not (folder / RECORD).is_file():
        raise StorageError(
            expected(
                "path",
                f"a folder that holds {RECORD}",
                f"{str(folder)!r}, which does not",
                "Give the path that `save` was given.",
            )
        )
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _broken(folder / RECORD, str(error)) from error
    if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
        raise _broken(folder / RECORD, "it is not a stored model")
    version = record.pop("version", None)
    if version != VERSION:
        raise StorageError(
            expected(
                "path",
                f"format version {VERSION}",
                f"version {version!r} in {str(folder)!r}",
                "Load it with the version of the library that wrote it.",
            )
        )
    return record


def _broken(file: Path, why: str) -> StorageError:
    return StorageError(
        expected(
            "path",
            "the files as they were written",
            f"{str(file)!r}: {why}",
            "Restore the folder from a copy, or save the model again.",
        )
    )
