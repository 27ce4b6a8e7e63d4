"""Pixels are those that Pillow shows; what Pillow would show wrongly is computed here."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rlfat_tf.data.decode import decode
from rlfat_tf.data.reading import Unreadable

COLOURS = np.random.RandomState(0).randint(0, 256, (7, 5, 3)).astype(np.uint8)


def stored(image, kind, **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def in_rgb(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize(
    "kind, settings",
    [
        ("BMP", {}),
        ("GIF", {}),
        ("JPEG", {"quality": 60}),
        ("JPEG", {"progressive": True, "subsampling": 2}),
        ("PNG", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"quality": 70}),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_every_format_is_as_pillow_shows_it(kind, settings, mode):
    image = Image.fromarray(COLOURS).convert(mode)
    if kind == "JPEG" and mode == "P" or kind == "PPM" and mode == "P":
        image = image.convert("RGB")
    content = stored(image, kind, **settings)
    result = decode(content)
    assert result.dtype == np.uint8 and result.shape == (7, 5, 3)
    np.testing.assert_array_equal(result, in_rgb(content))
    if kind in ("BMP", "PNG", "PPM", "TIFF"):
        np.testing.assert_array_equal(result, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_photos_are_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    image = Image.fromarray(COLOURS)
    flat = in_rgb(stored(image, kind, **lossless))
    turned = [  # by the EXIF standard: where the stored row 0 and column 0 are in the picture
        flat,
        flat[:, ::-1],
        flat[::-1, ::-1],
        flat[::-1],
        flat.transpose(1, 0, 2),
        flat.transpose(1, 0, 2)[:, ::-1],
        flat[::-1, ::-1].transpose(1, 0, 2),
        flat.transpose(1, 0, 2)[::-1],
    ][orientation - 1]
    np.testing.assert_array_equal(decode(stored(image, kind, exif=exif, **lossless)), turned)


def test_damaged_exif_data_do_no_harm():
    content = stored(Image.fromarray(COLOURS), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    np.testing.assert_array_equal(decode(content), COLOURS)


@pytest.mark.parametrize("background, value", [("white", 255), ("black", 0)])
def test_transparent_pixels_show_the_background(background, value):
    alpha = np.arange(35, dtype=np.uint8).reshape(7, 5, 1) * 7
    image = Image.fromarray(np.concatenate([COLOURS, alpha], -1))
    share = alpha / 255.0
    expected = COLOURS * share + value * (1 - share)
    for kind in ("PNG", "TIFF"):
        result = decode(stored(image, kind), background)
        np.testing.assert_allclose(result, expected, atol=1)
        assert (result[0, 0] == value).all()
    opaque = Image.fromarray(np.concatenate([COLOURS, np.full_like(alpha, 255)], -1))
    np.testing.assert_array_equal(decode(stored(opaque, "PNG"), background), COLOURS)
    grey = Image.fromarray(np.concatenate([COLOURS[..., :1], alpha], -1), "LA")
    expected = COLOURS[..., :1] * share + value * (1 - share)
    np.testing.assert_allclose(
        decode(stored(grey, "PNG"), background), np.repeat(expected, 3, -1), atol=1
    )


@pytest.mark.parametrize("kind, mode", [("PNG", "P"), ("GIF", "P"), ("PNG", "RGB"), ("PNG", "L")])
def test_one_transparent_colour(kind, mode):
    values = np.arange(35, dtype=np.uint8).reshape(7, 5)
    if mode == "RGB":
        image = Image.fromarray(np.repeat(values[..., None], 3, -1))
        content = stored(image, kind, transparency=(3, 3, 3))
    else:
        image = Image.fromarray(values)
        if mode == "P":
            image.putpalette([level for level in range(256) for _ in range(3)])
        content = stored(image, kind, transparency=3)
    expected = np.repeat(np.where(values == 3, 255, values)[..., None], 3, -1)
    np.testing.assert_array_equal(decode(content), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_become_eight(kind):
    values = np.random.RandomState(1).randint(0, 2**16, (7, 5)).astype(np.uint16)
    values[0] = [0, 255, 256, 65279, 65535]
    content = stored(Image.fromarray(values), kind)
    expected = np.repeat((values >> 8)[..., None], 3, -1)
    np.testing.assert_array_equal(decode(content), expected)


def png(rows, width, bits, transparent):
    """A grey PNG with one transparent value, in a depth that Pillow may not write."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, len(rows), bits, 0, 0, 0, 0)
    return b"".join([
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", header),
        chunk(b"tRNS", struct.pack(">H", transparent)),
        chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        chunk(b"IEND", b""),
    ])  # fmt: skip


@pytest.mark.parametrize("background, value", [("white", 255), ("black", 0)])
def test_one_transparent_grey_of_sixteen_bits(background, value):
    """Another grey with the same upper 8 bits stays."""
    values = np.arange(40000, 40035, dtype=np.uint16).reshape(7, 5)
    values[0, :3] = [1, 7, 8]
    for transparent in (40020, 7):
        content = png([row.astype(">u2").tobytes() for row in values], 5, 16, transparent)
        expected = np.where(values == transparent, value, values >> 8)
        found = decode(content, background)
        np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, -1))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_one_transparent_grey_of_few_bits(bits):
    row = bytes([0b00011011, 0b11100100])
    values = np.array([int(f"{int.from_bytes(row, 'big'):016b}"[i : i + bits], 2)
                       for i in range(0, 16, bits)])  # fmt: skip
    step = 255 // (2**bits - 1)
    for background, value in (("white", 255), ("black", 0)):
        found = decode(png([row] * 2, len(values), bits, 1), background)
        expected = np.where(values == 1, value, values * step)
        np.testing.assert_array_equal(found, np.broadcast_to(expected[:, None], found.shape))


def tiff(values, bits, photometric):
    """A TIFF of one strip, which Pillow does not write with 12 bits or white as zero."""
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        strip = b"".join(((a << 12) | b).to_bytes(3, "big") for a, b in pairs.tolist())
    else:
        strip = values.astype("<u2").tobytes()
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1}
    tags |= {278: height, 279: len(strip)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + strip


@pytest.mark.parametrize("bits, photometric", [(12, 1), (16, 1), (16, 0)])
def test_the_upper_8_bits_of_a_grey_tiff(bits, photometric):
    values = np.random.RandomState(1).randint(0, 2**bits, (6, 4)).astype(np.uint16)
    expected = values >> (bits - 8) if photometric else 255 - (values >> (bits - 8))
    found = decode(tiff(values, bits, photometric))
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, -1))


def test_cmyk():
    for content in (
        stored(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"),
        stored(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"),
    ):
        np.testing.assert_array_equal(decode(content), in_rgb(content))
    np.testing.assert_array_equal(decode(content), COLOURS)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame(kind):
    frames = [Image.new("RGB", (5, 7), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = stored(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
    np.testing.assert_array_equal(decode(content), np.full((7, 5, 3), [255, 0, 0]))


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_what_is_cut_off_is_refused(kind, capfd):
    content = stored(Image.fromarray(np.repeat(COLOURS, 9, 0)), kind)
    for part in (content[: len(content) // 2], content[:6], content[: len(content) * 9 // 10]):
        with pytest.raises(Unreadable):
            decode(part)
    assert capfd.readouterr().err == ""  # libjpeg and libtiff say nothing


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "no image in one of the formats BMP, "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image in one of the formats"),
        (stored(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "unknown range .mode F"),
        (b"P6\n99999 99999\n255\n", "exceeds limit"),
    ],
)
def test_what_is_no_image_is_refused(content, message):
    with pytest.raises(Unreadable, match=message):
        decode(content)
