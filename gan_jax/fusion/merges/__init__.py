"""Merges in closed form: several trees of one shape into one."""
