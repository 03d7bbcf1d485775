"""Timings side by side in one run: each module has TITLE and `run() -> rows`; `python -m benchmarks` runs them."""
