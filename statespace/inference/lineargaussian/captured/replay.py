"""A recursion over rows, recorded for a chunk of rows and replayed along time.

A CUDA graph does again what was recorded, on the memory on which it was recorded. So a chunk owns
its memory: what goes in is copied there, the graph is replayed, what comes out is copied away, and
the state stays for the chunk after it. The last chunk may be shorter than the recording: its
remaining rows run on what stood there before, and nobody reads them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["CudaGraph", "Graph", "replayed"]

Arrays = Mapping[str, Tensor]
State = tuple[Tensor, ...]
Row = Callable[[Arrays, State], tuple[State, State]]

LENGTH = 32  # rows of a recording
_KEPT = 16  # recordings that are kept
_WARM = 2  # runs before recording, in which libraries make what they make once


class Graph(Protocol):
    """What records work, and does it again."""

    def capture(self, work: Callable[[], None]) -> None:
        """Records; the work may be done any number of times."""

    def replay(self) -> None:
        """Does the recorded work once, on the same memory."""


class CudaGraph:
    """A `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def capture(self, work: Callable[[], None]) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM):
                work()
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            work()

    def replay(self) -> None:
        self._graph.replay()


class _Chunk:
    """Some rows of a recursion, recorded on buffers of their own."""

    def __init__(
        self, row: Row, fixed: Arrays, rows: Arrays, state: State, graph: Callable[[], Graph]
    ) -> None:
        self.row = row
        self.fixed = {name: x.clone() for name, x in fixed.items()}
        self.rows = {name: x[:LENGTH].clone() for name, x in rows.items()}
        self.state = tuple(x.clone() for x in state)
        example, _ = row(self._at(0), self.state)
        self.out = tuple(x.new_empty(LENGTH, *x.shape) for x in example)
        self.graph = graph()
        self.graph.capture(self._work)

    def _at(self, t: int) -> Arrays:
        return {**self.fixed, **{name: x[t] for name, x in self.rows.items()}}

    def _work(self) -> None:
        state = self.state
        for t in range(LENGTH):
            out, state = self.row(self._at(t), state)
            for buffer, x in zip(self.out, out, strict=True):
                buffer[t].copy_(x)
        for buffer, x in zip(self.state, state, strict=True):
            buffer.copy_(x)

    def run(self, fixed: Arrays, rows: Arrays, state: State, steps: int) -> State:
        """Every row's output, time first; see `replayed`."""
        for name, x in fixed.items():
            self.fixed[name].copy_(x)
        for buffer, x in zip(self.state, state, strict=True):
            buffer.copy_(x)
        whole = tuple(x.new_empty(steps, *x.shape[1:]) for x in self.out)
        for first in range(0, steps, LENGTH):
            many = min(LENGTH, steps - first)
            for name, x in rows.items():
                self.rows[name][:many].copy_(x[first : first + many])
            self.graph.replay()
            for x, buffer in zip(whole, self.out, strict=True):
                x[first : first + many].copy_(buffer[:many])
        return whole


_lock = threading.Lock()
_chunks: OrderedDict[tuple[object, ...], _Chunk | None] = OrderedDict()


def replayed(
    row: Row,
    fixed: Arrays,
    rows: Arrays,
    state: State,
    graph: Callable[[], Graph] = CudaGraph,
) -> State | None:
    """The outputs of a recursion at every row, from a recording of a chunk of them.

    A recording is made once for each row function, stream, and shape and dtype of its arrays.

    Args:
        row: From the arrays of one row and the state before it to its outputs and the state after
            it; a function of the module, free of whatever waits for the device.
        fixed: Arrays that are the same in every row.
        rows: Arrays with a row axis first, at least `LENGTH` rows.
        state: Before the first row; of the shapes of the state after it.
        graph: Makes what records.

    Returns:
        Outputs, time first. None where the device refuses to record.
    """
    steps = next(iter(rows.values())).shape[0]
    cut = {name: x[:LENGTH] for name, x in rows.items()}
    key = (row, graph, *_kind(cut.items(), fixed.items(), enumerate(state)))
    with _lock, torch.cuda.device_of(state[0]):
        if key not in _chunks:
            try:
                _chunks[key] = _Chunk(row, fixed, cut, state, graph)
            except RuntimeError:  # the driver does not record this: remembered, and not tried again
                _chunks[key] = None
            if len(_chunks) > _KEPT:
                _chunks.popitem(last=False)
        _chunks.move_to_end(key)
        chunk = _chunks[key]
        return None if chunk is None else chunk.run(fixed, rows, state, steps)


def _kind(*groups: Iterable[tuple[object, Tensor]]) -> tuple[object, ...]:
    """Shapes, dtypes and places of arrays, with the stream on which they are worked on."""
    named = [(name, x.shape, x.dtype, x.device) for group in groups for name, x in group]
    device = named[0][-1]
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else None
    return (*named, stream)
