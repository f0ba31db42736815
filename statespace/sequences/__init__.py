"""The door: whatever the data came as becomes one `Sequences`, or is refused in a sentence.

Behind the door there is no NaN, no sentinel and no guessing: `values`, a mask of what was
observed, the length of each series, the inputs, and the index that results are labelled with.
"""

from statespace.sequences.arrays import read_count
from statespace.sequences.data import Sequences
from statespace.sequences.door import read_sequences
from statespace.sequences.index import Index
from statespace.sequences.inputs import read_inputs
from statespace.sequences.row import read_input_row, read_row

__all__ = [
    "Index",
    "Sequences",
    "read_count",
    "read_input_row",
    "read_inputs",
    "read_row",
    "read_sequences",
]
