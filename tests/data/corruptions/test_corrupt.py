"""What all corruptions share: names, tables, 8 bits, draws that go with the example."""

import numpy as np
import pytest

from rlfat_tf.data.corruptions import BENCHMARK, CORRUPTIONS, EXTRA, corrupt, making, parse
from rlfat_tf.data.corruptions.tables import SIDES, TABLES, side_of

CERTAIN = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate",
           "jpeg_compression", "gaussian_blur", "saturate"}  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 9, 11, 3)).astype(np.uint8)


def test_names_and_tables():
    assert len(BENCHMARK) == 15 and len(EXTRA) == 4 and len(CORRUPTIONS) == 19
    assert set(TABLES) == set(CORRUPTIONS)
    for of_sides in TABLES.values():
        assert tuple(of_sides) == SIDES
        assert all(len(of_severities) == 5 for of_severities in of_sides.values())
    assert [side_of(s) for s in ((8, 8), (48, 99), (49, 64), (300, 128), (129, 129))] == [
        32, 32, 64, 64, 224,
    ]  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_a_function_of_seed_and_example(name, images, monkeypatch):
    whole = corrupt(images, name, 4, seed=3)
    assert whole.dtype == np.uint8 and whole.shape == images.shape
    assert (whole != images).any()
    np.testing.assert_array_equal(corrupt(images[2:], name, 4, seed=3, examples=[2]), whole[2:])
    monkeypatch.setattr(making, "VALUES_AT_ONCE", 1)  # an image a thread
    np.testing.assert_array_equal(corrupt(images, name, 4, seed=3, threads=3), whole)
    same = (corrupt(images, name, 4, seed=4) == whole).all()
    assert same == (name in CERTAIN)
    twice = corrupt(np.stack([images[0]] * 2), name, 4, seed=3)
    assert (twice[0] == twice[1]).all() == (name in CERTAIN)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_grey_image_is_one_of_three_equal_channels(name, images):
    grey = images[..., :1]
    found = corrupt(grey, name, 2)
    coloured = corrupt(np.repeat(grey, 3, -1), name, 2)
    np.testing.assert_array_equal(found, coloured[..., :1])
    assert corrupt(np.zeros((1, 1, 1, 1), np.uint8), name, 5).shape == (1, 1, 1, 1)


def test_values_are_cut_off():
    x = np.full((1, 4, 4, 3), 51, np.uint8)  # 0.2, raised by 0.05: 63.75
    assert (corrupt(x, "brightness", 1) == 63).all()
    assert (corrupt(x, "contrast", 1) == 51).all()  # whole numbers stay


def test_the_table_goes_by_the_size():
    for side, added in ((32, 0.05), (64, 0.1), (224, 0.1)):
        x = np.full((1, side, side + 9, 1), 100, np.uint8)
        assert (corrupt(x, "brightness", 1) == int(100 + 255 * added)).all()


def test_severity_grows():
    x = np.random.default_rng(0).integers(60, 200, (2, 32, 32, 3)).astype(np.uint8)
    for name in ("gaussian_noise", "contrast", "fog", "gaussian_blur"):
        apart = [np.abs(corrupt(x, name, s) - x.astype(float)).mean() for s in (1, 3, 5)]
        assert apart[0] < apart[1] < apart[2]


def test_parse():
    assert parse("fog:3") == (("fog", 3),)
    assert parse(" saturate:1, fog", (5, 2)) == (("fog", 2), ("fog", 5), ("saturate", 1))
    assert parse("fog,fog:2") == tuple(("fog", s) for s in (1, 2, 3, 4, 5))
    assert {name for name, _ in parse("benchmark")} == set(BENCHMARK) and len(parse("all")) == 95
    assert parse("extra:5") == tuple((name, 5) for name in EXTRA)


@pytest.mark.parametrize(
    "text, message",
    [
        ("fgo", "Unknown corruption 'fgo'. Did you mean 'fog'"),
        ("fog:6", "severities from 1 to 5; received '6' of fog"),
        ("fog:x", "severities from 1 to 5; received 'x' of fog"),
        (" , ", "at least one corruption"),
    ],
)
def test_what_is_no_corruption(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize("severities", [3, "12", None])
def test_severities_are_several(severities):
    with pytest.raises(ValueError, match=f"such as .1, 3.; received {severities!r}"):
        parse("fog", severities)
    assert parse("fog", np.array([2, 1])) == (("fog", 1), ("fog", 2))


def test_what_cannot_be_corrupted(images):
    with pytest.raises(TypeError, match="Expected uint8 images of 0 to 255; received float64"):
        corrupt(images / 255, "fog", 1)
    with pytest.raises(ValueError, match=r"3 or 1\]; received shape \(3, 9, 11\)"):
        corrupt(images[..., 0], "fog", 1)
    with pytest.raises(ValueError, match="Unknown corruption 'mist'"):
        corrupt(images, "mist", 1)
    with pytest.raises(ValueError, match=r"numbers of shape \(2,\) for 3 images"):
        corrupt(images, "fog", 1, examples=[0, 1])
