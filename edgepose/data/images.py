"""Reading pictures as people send them: usual kinds become RGB, the rest is refused by name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edgepose.errors import EdgeposeError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
MIN_SIDE_PX = 8
MAX_PIXELS = 100_000_000
# Named, so that no decoder which starts programs (EPS) ever sees a file.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
# What Pillow's decoders raise on broken files, besides OSError.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError,
           OverflowError, struct.error, zlib.error)  # fmt: skip


_TURNED = 5  # EXIF orientations from this on exchange height and width
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """What a look at a file told. hw: (height, width), upright; dhash: 64 bits, see `dhash`."""

    hw: tuple[int, int]
    dhash: int


def read_image(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 RGB, upright.

    Grey, palette and CMYK pictures are converted; 16-bit grey is scaled to 8; transparent parts
    are put on white, as a page or a viewer shows them; the EXIF orientation is applied; of an
    animation the first frame is taken. Colour profiles are ignored.
    Raises EdgeposeError for a file that is missing, empty, corrupt, cut off, no picture, of a pixel
    type without an agreed range (float), smaller than 8 x 8, or larger than 100 megapixels.
    """
    with _opened(Path(path)) as picture:
        picture.load()
        return _to_rgb(_upright(picture), Path(path))


def examine(path: Path) -> Picture:
    """The size and the perceptual hash of a picture that `read_image` would read; its errors.

    Decodes the whole file (a JPEG at an eighth of its size, which finds the same damage), so that
    what passes here does not stop a training later.
    """
    with _opened(Path(path)) as picture:
        height, width = picture.size[::-1]
        turned = picture.getexif().get(_ORIENTATION, 1) >= _TURNED
        if picture.format == "JPEG" and picture.mode in ("RGB", "L"):
            picture.draft("L", (64, 64))
            picture.load()
            grey = np.asarray(_upright(picture).convert("L"))
        else:
            picture.load()
            grey = np.asarray(Image.fromarray(_to_rgb(_upright(picture), path)).convert("L"))
    return Picture((width, height) if turned else (height, width), dhash(grey))


def dhash(grey: NDArray[np.uint8]) -> int:
    """64-bit difference hash of an (H, W) picture: is each of 9 x 8 cells darker than its right one.

    Survives scaling, recompression and changes of brightness; differs in some 32 bits between
    unrelated pictures. Source: N. Krawetz, "Kind of Like That", 2013.
    """
    small = Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX)
    cells = np.asarray(small, np.int16)
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def _upright(picture: Image.Image) -> Image.Image:
    """The picture with its EXIF orientation applied; itself, not a copy, where there is none."""
    if picture.getexif().get(_ORIENTATION, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An opened picture of a size that we take; whatever reading it raises becomes EdgeposeError."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise EdgeposeError(f"image {path} {what}", fix="check the path and its spelling")
    try:
        if path.stat().st_size == 0:
            raise EdgeposeError(f"image {path} is empty (0 bytes)", fix="copy the file again")
        with Image.open(path, formats=_FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise _too_large(path, f"{width} x {height} pixels")
            if min(width, height) < MIN_SIDE_PX:
                raise EdgeposeError(
                    f"image {path} is {width} x {height} pixels; a person needs more",
                    fix=f"use images of at least {MIN_SIDE_PX} x {MIN_SIDE_PX} pixels",
                )
            yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error)) from error
    except UnidentifiedImageError as error:
        raise EdgeposeError(
            f"{path} is not an image that can be read, or its beginning is damaged",
            fix=f"use one of {', '.join(_FORMATS)}; open the file in a viewer to check it",
        ) from error
    except PermissionError as error:
        raise EdgeposeError(f"image {path} may not be read", fix="check its permissions") from error
    except _BROKEN as error:
        raise EdgeposeError(
            f"image {path} is corrupt or cut off ({error})", fix="copy or export the file again"
        ) from error


def _too_large(path: Path, size: str) -> EdgeposeError:
    return EdgeposeError(
        f"image {path} is too large ({size}; the limit is {MAX_PIXELS // 1_000_000} megapixels)",
        fix="scale the image down; the network sees a crop of a few hundred pixels anyway",
    )


def _to_rgb(picture: Image.Image, path: Path) -> NDArray[np.uint8]:
    if picture.mode == "F":
        raise EdgeposeError(
            f"image {path} has floating-point pixels, which have no agreed range",
            fix="export it with 8 or 16 bits",
        )
    if picture.mode.startswith("I"):  # 16-bit grey, or 32-bit integers that hold it
        grey = np.asarray(picture).astype(np.float64)
        if grey.min() < 0 or grey.max() > 65535:
            raise EdgeposeError(
                f"image {path} has 32-bit pixels, which have no agreed range",
                fix="export it with 8 or 16 bits",
            )
        eight = np.rint(grey / 257.0).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(eight[:, :, None], 3, axis=2))
    if picture.has_transparency_data:
        colour = picture.convert("RGBA")
        page = Image.new("RGBA", colour.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(page, colour)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"), dtype=np.uint8)
