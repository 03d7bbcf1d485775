"""Output for people: progress, metric files, grids, curves, tables and one HTML page.

Everything here takes plain arrays, numbers and strings, so that no package to the left needs to know how it is shown.
Pillow, rich, matplotlib and tensorboardX load where they are used.
"""
