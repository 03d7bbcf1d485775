"""Checkpoints: saving and keeping them, their manifest, and their files on disk."""
