"""The page of a run folder, whatever became of the run: finished, stopped, killed, without evaluations, damaged."""

from gan_jax.report.run.folder import RunFolder, read_run
from gan_jax.report.run.page import write_run_page
from gan_jax.report.run.several import write_runs_page

__all__ = ["RunFolder", "read_run", "write_run_page", "write_runs_page"]
