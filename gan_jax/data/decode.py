"""Image files to pixels and back, one at a time; a file that cannot be read is an error that names it."""

from __future__ import annotations

import io
import warnings

import numpy as np

from gan_jax.data.images import DataError
from gan_jax.extras import require

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MAX_PIXELS = 1 << 26  # a larger picture is refused before it is unpacked; training sets hold nothing near it

_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_TOO_DEEP = ("I", "F")  # and I;16 and its kin: Pillow would cut them to 8 bits in silence


def decode(data: bytes, where: str) -> np.ndarray:
    """One image file as `[H, W, C]` uint8: grey (1), RGB (3), or RGBA (4) where it has transparency.

    The camera's orientation tag is applied; of an animation the first frame counts.

    Args:
      data: the bytes of the file.
      where: the file's name, for errors.
    """
    Image = require("PIL.Image", extra="data")
    ImageOps = require("PIL.ImageOps", extra="data")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of oversized and of damaged files that it reads all the same
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.height} x {image.width} px"
                    raise DataError(f"{where} is {size}; more than {MAX_PIXELS} pixels are refused")
                if image.mode.startswith(_TOO_DEEP):
                    raise DataError(f"{where} has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits")
                image.load()
                image = ImageOps.exif_transpose(image)
                mode = "L" if image.mode in ("1", "L") else "RGB"
                if image.mode in _WITH_ALPHA or "transparency" in image.info:
                    mode = "RGBA"
                pixels = np.array(image.convert(mode))
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(f"{where} is not a readable image: {error}") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def encode_png(pixels: np.ndarray) -> bytes:
    """`[H, W, C]` uint8 (C: 1, 3 or 4) as a PNG file, without loss."""
    Image = require("PIL.Image", extra="data")
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, format="PNG")
    return stream.getvalue()
