"""Every kind of picture that people send: read properly, or refused with its name and a fix."""

import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from edgepose.data.images import read_image
from edgepose.errors import EdgeposeError


@pytest.fixture(scope="module")
def scene():
    """A smooth RGB picture, so that lossy formats stay close to it."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 4, y * 5, 255 - (x + y) * 2], axis=-1).astype(np.uint8)


def luma(rgb):
    return rgb @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_formats_come_back_exactly(tmp_path, scene, suffix):
    path = tmp_path / f"scene.{suffix}"
    Image.fromarray(scene).save(path, **({"lossless": True} if suffix == "webp" else {}))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_array_equal(image, scene)


def test_colours_are_rgb_also_when_opencv_wrote_them(tmp_path, scene):
    cv2.imwrite(str(tmp_path / "a.png"), scene[:, :, ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), scene)


def test_jpeg_is_what_opencv_reads(tmp_path, scene):
    Image.fromarray(scene).save(tmp_path / "a.jpg", quality=95)
    theirs = cv2.imread(str(tmp_path / "a.jpg"))[:, :, ::-1].astype(int)
    assert np.abs(read_image(tmp_path / "a.jpg") - theirs).max() <= 4


def test_grey_becomes_three_equal_channels(tmp_path, scene):
    Image.fromarray(scene).convert("L").save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    assert (image == image[:, :, :1]).all()
    assert np.abs(image[:, :, 0] - luma(scene)).max() <= 1


def test_black_and_white_and_palette(tmp_path, scene):
    Image.fromarray(scene).convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(read_image(tmp_path / "bits.png"))) == {0, 255}
    paletted = Image.fromarray(scene).quantize(64)
    paletted.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "palette.png"), np.array(paletted.convert("RGB"))
    )


def test_transparent_parts_lie_on_white(tmp_path, scene):
    alpha = np.zeros(scene.shape[:2], np.uint8)
    alpha[:, 20:40], alpha[:, 40:] = 128, 255
    Image.fromarray(np.dstack([scene, alpha])).save(tmp_path / "alpha.png")
    image = read_image(tmp_path / "alpha.png").astype(float)
    assert (image[:, :20] == 255).all()
    half = (scene[:, 20:40] * 128.0 + 255 * 127.0) / 255
    assert np.abs(image[:, 20:40] - half).max() <= 1
    np.testing.assert_array_equal(image[:, 40:], scene[:, 40:])
    two = Image.fromarray(np.dstack([scene[:, :, 0], alpha]))
    two.save(tmp_path / "grey-alpha.png")
    grey = read_image(tmp_path / "grey-alpha.png")
    assert (grey[:, :20] == 255).all()
    assert (grey[:, 40:, 1] == scene[:, 40:, 0]).all()


def test_a_palette_with_a_transparent_entry(tmp_path):
    picture = Image.new("P", (16, 16), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.paste(1, (8, 0, 16, 16))
    picture.save(tmp_path / "hole.gif", transparency=0)
    image = read_image(tmp_path / "hole.gif")
    assert (image[:, :8] == 255).all()
    assert (image[:, 8:] == (200, 100, 50)).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled(tmp_path, suffix):
    wide = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"deep.{suffix}"), wide)
    image = read_image(tmp_path / f"deep.{suffix}")
    assert np.abs(image[:, :, 1] - wide / 257.0).max() <= 0.51
    assert image[0, 0, 0] == 0
    assert image[-1, -1, 0] == 255


def test_sixteen_bit_colour_is_scaled(tmp_path, scene):
    cv2.imwrite(str(tmp_path / "deep.png"), scene[:, :, ::-1].astype(np.uint16) * 257)
    assert np.abs(read_image(tmp_path / "deep.png").astype(int) - scene).max() <= 1


def test_cmyk_jpeg_is_converted(tmp_path):
    inks = np.zeros((32, 64, 4), np.uint8)
    inks[:, 16:32, 0], inks[:, 32:48, 1], inks[:, 48:, 3] = 255, 255, 255
    Image.fromarray(inks, "CMYK").save(tmp_path / "print.jpg", quality=100)
    image = read_image(tmp_path / "print.jpg").astype(int)
    for column, colour in (
        (8, (255,) * 3),
        (24, (0, 255, 255)),
        (40, (255, 0, 255)),
        (56, (0,) * 3),
    ):
        assert np.abs(image[16, column] - colour).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, scene, orientation):
    stored = Image.fromarray(scene)
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "phone.png", exif=exif)
    upright = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene, -1),
        7: scene[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(scene, 1),
    }[orientation]
    np.testing.assert_array_equal(read_image(tmp_path / "phone.png"), upright)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.gif") == (255, 0, 0)).all()


def png_header(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def encoded(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"this is no picture, whatever its name says", "not an image"),
    "only-a-beginning": (encoded(NOISE, "JPEG")[:10], "cut off|not an image"),
    "cut-off-jpeg": (encoded(NOISE, "JPEG")[:2000], "corrupt or cut off"),
    "cut-off-png": (encoded(NOISE, "PNG")[:2000], "corrupt or cut off"),
    "one-pixel": (encoded(Image.new("RGB", (1, 1)), "PNG"), "1 x 1"),
    "thin": (encoded(Image.new("RGB", (400, 7)), "PNG"), "400 x 7"),
    "float": (encoded(Image.new("F", (16, 16), 0.5), "TIFF"), "floating-point"),
    "32-bit": (encoded(Image.new("I", (16, 16), 70_000), "TIFF"), "32-bit"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "not an image"),
    "bomb": (png_header(60_000, 60_000), "too large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(tmp_path, name):
    content, reason = REFUSED[name]
    path = tmp_path / f"{name}.png"
    path.write_bytes(content)
    with pytest.raises(EdgeposeError, match=reason) as caught:
        read_image(path)
    assert f"{name}.png" in caught.value.problem
    assert caught.value.fix


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_more_than_a_hundred_megapixels_is_refused_before_decoding(tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(12_000, 9_000))
    with pytest.raises(EdgeposeError, match="12000 x 9000 pixels; the limit is 100 megapixels"):
        read_image(tmp_path / "a.png")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(EdgeposeError, match="does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(EdgeposeError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_damaged_files_give_a_picture_or_our_error_nothing_else(tmp_path, kind):
    whole = encoded(NOISE, kind)
    rng = np.random.default_rng(1)
    path = tmp_path / "damaged"
    for _ in range(60):
        damaged = bytearray(whole)
        for position in rng.integers(0, min(len(whole), 400), size=rng.integers(1, 6)):
            damaged[position] = int(rng.integers(0, 256))
        path.write_bytes(bytes(damaged[: int(rng.integers(1, len(damaged) + 1))]))
        with contextlib.suppress(EdgeposeError):
            image = read_image(path)
            assert image.shape[2] == 3
            assert image.dtype == np.uint8
