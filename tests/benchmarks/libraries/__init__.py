"""The contestants, one file each; a library that is not installed is left out by name."""

from __future__ import annotations

from importlib import import_module, metadata

from .base import Library, NotOffered

__all__ = ["Library", "NotOffered", "gather", "gather_deep"]

_OURS = ("ours", "Ours")
_DEEP = {"pyro-ppl": ("pyro_", "Pyro")}
_PEERS = {
    "statsmodels": ("statsmodels_", "Statsmodels"),
    "pykalman": ("pykalman_", "Pykalman"),
    "filterpy": ("filterpy_", "Filterpy"),
    "dynamax": ("dynamax_", "Dynamax"),
    "particles": ("particles_", "Particles"),
}


def gather() -> tuple[Library, list[Library], dict[str, str]]:
    """This library, the peers that are installed, and why the others are not here."""
    return _make(*_OURS), *_found(_PEERS)


def gather_deep() -> tuple[list[Library], dict[str, str]]:
    """The peers of deep models, likewise."""
    return _found(_DEEP)


def _found(places: dict[str, tuple[str, str]]) -> tuple[list[Library], dict[str, str]]:
    peers, absent = [], {}
    for package, place in places.items():
        try:
            metadata.version(package)
            peers.append(_make(*place))
        except metadata.PackageNotFoundError:
            absent[package] = "not installed"
        except (ImportError, AttributeError) as error:  # there, but broken by a dependency
            absent[package] = f"does not import: {error}"
    return peers, absent


def _make(module: str, name: str) -> Library:
    made: Library = getattr(import_module(f".{module}", __package__), name)()
    return made
