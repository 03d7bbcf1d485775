"""Fusion: several networks of one shape into one."""
