"""Side by side with other libraries, in one run: how exact, how good an optimum, how fast.

`make bench` runs everything and writes `docs/benchmarks.md`; `make bench ARGS=accuracy` (or
`optimum`, `speed`) prints that part alone. No test asserts a time.
"""
