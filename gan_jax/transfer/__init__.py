"""Transfer: methods, one file each, and the assembly of a run from its configuration."""
