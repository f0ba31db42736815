"""Data sets: classics that ship with the package, and readers of larger ones.

The classics are small facts and come as float64 tensors, or with `frame=True` as pandas
DataFrames. The larger sets are read from the folder that the environment variable
`STATESPACE_DATA` names; where a file is missing, a `DataError` says what to fetch and from where.

Example:
    >>> import statespace as ss
    >>> ss.datasets.nile().shape
    torch.Size([100, 1])
"""

from statespace.datasets.motion import mocap, pedestrians
from statespace.datasets.music import jsb_chorales, nottingham, piano_midi
from statespace.datasets.series import (
    air_passengers,
    lynx,
    nile,
    sunspots,
    sunspots_monthly,
    uk_seatbelts,
)
from statespace.datasets.systems import cascaded_tanks, silverbox
from statespace.datasets.text import eng_fra, names, tiny_shakespeare

__all__ = [
    "air_passengers",
    "cascaded_tanks",
    "eng_fra",
    "jsb_chorales",
    "lynx",
    "mocap",
    "names",
    "nile",
    "nottingham",
    "pedestrians",
    "piano_midi",
    "silverbox",
    "sunspots",
    "sunspots_monthly",
    "tiny_shakespeare",
    "uk_seatbelts",
]
