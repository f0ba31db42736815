"""Where compiled code is kept: in a directory of this very source, so that none is ever stale.

numba's own cache looks at the file of the function that is called; an edited helper, or an upgrade
over leftovers of another version, would go unnoticed or end in an unpickling error.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["STAMP", "directory"]

_HERE = Path(__file__).parent
_NAME = "statespace-kernels-"
_KEPT = 3  # directories of other versions that may stay


def _stamp() -> str:
    digest = hashlib.sha256()
    for path in sorted(_HERE.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


STAMP = _stamp()


def directory() -> Path | None:
    """The first of NUMBA_CACHE_DIR, the package and the user's cache that can be written to."""
    for base in (os.environ.get("NUMBA_CACHE_DIR"), _HERE / "__pycache__", _home()):
        if base is not None and (found := _usable(Path(base))) is not None:
            return found
    return None


def _home() -> Path | None:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "statespace"
    except RuntimeError:  # no home
        return None


def _usable(base: Path) -> Path | None:
    found = base / f"{_NAME}{STAMP}"
    try:
        found.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=found):
            pass
        _prune(base, found)
    except OSError:
        return None
    return found


def _prune(base: Path, own: Path) -> None:
    """Removes what the oldest other versions left."""
    others = [path for path in base.glob(f"{_NAME}*") if path != own]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
