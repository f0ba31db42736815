"""The loops over rows on a GPU, recorded once and replayed: not bound by launching kernels.

`replay` is the machinery, rows in chunks on buffers that stay where they are; `rows` are single
rows written so that they can be recorded; `loops` are the two passes.
"""

from statespace.inference.lineargaussian.captured.loops import descend, forward, suits

__all__ = ["descend", "forward", "suits"]
