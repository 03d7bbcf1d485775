"""Timings that are compared within one run: each module has TITLE and `run() -> rows`; `python -m benchmarks` runs them."""
