"""Side by side with other libraries, in one run: how exact, how good an optimum, how fast.

`make bench` runs everything but the grid and writes `docs/benchmarks.md`; `make bench ARGS=--grid`
measures the grid too (an hour), whose numbers are kept in `results/` for later pages. `make bench
ARGS=accuracy` (or `optimum`, `speed`, `profile`, `fits`, `grid`) prints that part alone, and
`ARGS='--quick --page PATH'` runs everything at tiny sizes. No test asserts a time.
"""
