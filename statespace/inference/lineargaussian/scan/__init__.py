"""The same passes as scans over time: O(T) work, O(log T) steps that wait for one another.

A row of the filter maps what is known of one state to what is known of the next, and maps compose.
`prefix` walks a state through a chain of maps by composing neighbours; `maps` says what the maps
are; `forward` and `backward` are the two passes, in batched tensor operations on any device.
"""

from statespace.inference.lineargaussian.scan.backward import descend
from statespace.inference.lineargaussian.scan.choice import pays
from statespace.inference.lineargaussian.scan.forward import scan_forward
from statespace.inference.lineargaussian.scan.maps import running_rows

__all__ = ["descend", "pays", "running_rows", "scan_forward"]
