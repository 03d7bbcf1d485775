"""What a run tells people: progress, metric files, grids, curves, tables and one HTML page.

Everything here takes plain arrays, numbers and strings, so that nothing to the left needs to know how it will be shown.
Pillow, rich, matplotlib and tensorboardX load where they are used.
"""
