from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gan_jax import files
from gan_jax.report import grids


def test_grid_puts_every_pixel_where_it_belongs(images):
    x = images(5, size=3, channels=3)
    grid = grids.make_grid(x, columns=2, scale=2, padding=1, background=7)
    assert grid.shape == (3 * (6 + 1) + 1, 2 * (6 + 1) + 1, 3) and grid.dtype == np.uint8
    for i, image in enumerate(x):
        top, left = (i // 2) * 7 + 1, (i % 2) * 7 + 1
        np.testing.assert_array_equal(grid[top : top + 6, left : left + 6], image.repeat(2, 0).repeat(2, 1))
    assert (grid[:, ::7] == 7).all() and (grid[::7] == 7).all()
    assert (grid[15:21, 8:14] == 7).all(), "the cell left over is background"


@pytest.mark.parametrize(("side", "scale"), [(4, 16), (28, 3), (32, 2), (64, 1), (128, 1)])
def test_small_images_are_enlarged_to_be_seen(images, side, scale):
    assert grids.readable_scale(images(2, size=side)) == scale


def test_grid_is_as_square_as_possible_and_keeps_channels(images):
    assert grids.make_grid(images(10), padding=0).shape == (3 * 4, 4 * 4, 1)
    rgba = grids.make_grid(images(3, channels=4) * 0, columns=2, padding=1)
    assert (rgba[0, :, 3] == 255).all() and (rgba[6:10, 6:10, 3] == 255).all()
    assert (rgba[1:5, 1:5, 3] == 0).all(), "an image keeps its own transparency"


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 4, 4, 1), np.float32), np.zeros((4, 4, 1), np.uint8), np.zeros((2, 4, 4, 2), np.uint8),
     np.zeros((0, 4, 4, 1), np.uint8)],
)  # fmt: skip
def test_what_is_not_an_image_is_refused(bad):
    with pytest.raises(ValueError, match=r"must be uint8 \[N, H, W, C\].*not (float32|uint8)\["):
        grids.make_grid(bad)


def test_transparency_is_laid_on_white():
    x = np.array([[[[10, 20, 30, 0], [10, 20, 30, 255], [0, 255, 100, 128]]]], np.uint8)
    np.testing.assert_array_equal(grids.to_rgb(x)[0, 0], [[255, 255, 255], [10, 20, 30], [127, 255, 177]])


def test_labelled_grid_mixes_resolutions_and_channels(images):
    rows = [("real", images(4, 32, 3)), ("source", images(5, 16, 1)), ("emoji", images(3, 64, 4) // 255 * 255)]
    grid = grids.labelled_grid(rows, padding=2)
    assert grid.dtype == np.uint8 and grid.shape[0] == 3 * (64 + 4) and grid.shape[2] == 3
    left = grid.shape[1] - (3 * 66 + 2)
    assert (grid[:, :left] < 128).any(axis=(1, 2)).reshape(3, 68).any(axis=1).all(), "every row has ink in its label"
    np.testing.assert_array_equal(grid[2:66, left + 2 : left + 66], rows[0][1][0].repeat(2, 0).repeat(2, 1))
    source = np.repeat(rows[1][1][1], 3, axis=-1).repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(grid[70:134, left + 68 : left + 132], source)


def test_labelled_grid_says_what_does_not_fit(images):
    with pytest.raises(ValueError, match="cell_px 16 would drop pixels of 32 px images"):
        grids.labelled_grid([("a", images(2, 32))], cell_px=16)
    with pytest.raises(ValueError, match="row 'floats' must be uint8"):
        grids.labelled_grid([("floats", images(2) / 255)])
    with pytest.raises(ValueError, match="at least one"):
        grids.labelled_grid([])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_gives_back_its_pixels_and_equal_bytes(tmp_path, images, channels):
    image = images(1, 8, channels)[0]
    path = grids.write_png(tmp_path / "new" / "folder" / "x.png", image)
    with Image.open(path) as opened:
        back = np.asarray(opened)
    np.testing.assert_array_equal(back if channels > 1 else back[..., None], image)
    assert path.read_bytes() == grids.png_bytes(image)
    with Image.open(io.BytesIO(grids.png_bytes(images(1, 8)[0, :, :, 0]))) as grey:
        assert grey.size == (8, 8)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = files.write_atomically(tmp_path / "x.bin", b"old")
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["x.bin"]
