"""The command line: `gan-jax VERB ...`, one file per verb, each with `main(argv) -> exit code`."""
