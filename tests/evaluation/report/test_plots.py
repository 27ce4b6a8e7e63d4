"""Charts and pictures: what they show, that they are PNGs, and that they leave nothing behind."""

import struct

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from rlfat_tf.core import transforms
from rlfat_tf.evaluation.measures.saliency import salience_picture
from rlfat_tf.evaluation.report import pictures, plots

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0.1, 0.9, (3, 8, 6, 3)).astype(np.float32)
NAMES = ("cat", "dog", "a class with a long name")


def result(share):
    return {"robust_accuracy": share, "interval": [share - 0.05, share + 0.04]}


def point(epsilon, pgd, **others):
    worst = min([pgd, *others.values()]) - 0.02
    return {
        "epsilon": epsilon,
        "attacks": {name: result(share) for name, share in {"pgd": pgd, **others}.items()},
        "worst_case_accuracy": worst,
        "worst_case_interval": [worst - 0.03, worst + 0.03],
    }


CURVE = [point(8 / 255, 0.4, cw=0.3), point(4 / 255, 0.6), point(2 / 255, 0.7, cw=0.65)]
REPORT = {"clean_accuracy": 0.8, "clean_interval": [0.75, 0.84], **CURVE[0]}
SENSITIVITY = {
    "brightness": {
        "clean": [{"magnitude": 0.15, "value": 2.0}, {"magnitude": -0.15, "value": 1.0}],
        "pgd": [{"magnitude": -0.15, "value": 3.0}, {"magnitude": 0.15, "value": 4.0}],
    },
    "gamma": {"clean": [{"magnitude": 0.5, "value": 1.5}, {"magnitude": 2.0, "value": 2.5}]},
}
FIGURES = {
    "curve": lambda: plots.robustness_curve(CURVE, clean_accuracy=0.8),
    "bars": lambda: plots.attack_bars(REPORT),
    "sensitivity": lambda: plots.sensitivity_lines(SENSITIVITY),
    "shuffle": lambda: plots.shuffle_lines({"one": {1: 0.9, 2: 0.5}}, classes=10),
    "salience": lambda: pictures.salience_grid(IMAGES, {"model": IMAGES}, NAMES, [0, 1, 2]),
    "adversarial": lambda: pictures.adversarial_grid(
        IMAGES, IMAGES + 0.02, [0, 1, 2], [0, 1, 0], [0, 2, 2], NAMES
    ),
    "gray": lambda: pictures.adversarial_grid(
        IMAGES[..., :1], IMAGES[..., :1] + 0.02, [0, 1, 2], [0, 1, 0], [0, 2, 2], NAMES
    ),
    "shuffled": lambda: pictures.block_shuffle_figure(IMAGES[0]),
    # Names of a user's, in which there are dollars and no mathematics.
    "dollars": lambda: pictures.adversarial_grid(
        IMAGES, IMAGES, [0, 1, 2], [0, 1, 0], [0, 2, 2], ["$5_$10", "a$^$b", "$"]
    ),
    "dollars of an attack": lambda: plots.robustness_curve(
        [point(0.1, 0.4, **{"$5_$10": 0.3}), point(0.2, 0.3, **{"$5_$10": 0.2})]
    ),
}


def shown(axes):
    """The array of the one picture in a panel."""
    (image,) = axes.get_images()
    return np.asarray(image.get_array())


def labels_of(ticks):
    return [text.get_text() for text in ticks]


def lines_by_name(axes):
    return {line.get_label(): line for line in axes.get_lines()}


@pytest.mark.parametrize("name", FIGURES)
def test_a_png_of_its_size_that_leaves_nothing_behind(name, tmp_path):
    settings, open_figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    figure = FIGURES[name]()
    path = tmp_path / "new" / "figure.png"
    plots.save_png(figure, path)
    png = path.read_bytes()
    assert png == plots.png_bytes(FIGURES[name]())
    assert [file.name for file in path.parent.iterdir()] == ["figure.png"]
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    expected = [int(inches * plots.DPI) for inches in figure.get_size_inches()]
    assert list(struct.unpack(">II", png[16:24])) == expected
    assert pyplot.get_fignums() == open_figures
    assert dict(matplotlib.rcParams) == settings


def test_curve():
    (axes,) = plots.robustness_curve(CURVE, clean_accuracy=0.8, norm="l2").axes
    lines = lines_by_name(axes)
    assert list(lines) == ["worst case", "pgd", "cw"]
    radii = np.array([0, 2, 4, 8]) / 255
    np.testing.assert_allclose(lines["pgd"].get_xydata().T, [radii, [0.8, 0.7, 0.6, 0.4]])
    np.testing.assert_allclose(lines["cw"].get_xydata().T, [radii[[0, 1, 3]], [0.8, 0.65, 0.3]])
    np.testing.assert_allclose(lines["worst case"].get_ydata(), [0.8, 0.63, 0.58, 0.28])
    assert lines["worst case"].get_linewidth() > 1.5 * lines["pgd"].get_linewidth()
    assert labels_of(axes.get_xticklabels())[::-1] == ["0", "2/255", "4/255", "8/255"]
    assert "$L_2$" in axes.get_xlabel() and axes.get_ylabel() == "robust accuracy"
    assert labels_of(axes.get_legend().get_texts()) == list(lines)
    bands = [band.get_paths()[0].get_extents() for band in axes.collections]
    assert len(bands) == 3
    np.testing.assert_allclose([bands[1].y0, bands[1].y1], [0.35, 0.8], atol=1e-6)


def test_curve_without_a_start():
    (axes,) = plots.robustness_curve(CURVE).axes
    np.testing.assert_allclose(lines_by_name(axes)["pgd"].get_xdata(), np.array([2, 4, 8]) / 255)
    (axes,) = plots.robustness_curve(CURVE, clean_accuracy=0.8, clean_interval=[0.7, 0.9]).axes
    assert axes.collections[1].get_paths()[0].get_extents().y1 == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("radii", "labels"),
    [
        ([8 / 255, 4 / 255], ["8/255", "4/255"]),
        ([0.0, 1 / 255, 16 / 255], ["16/255", "1/255", ""]),
        ([0.03], ["0.03"]),
        ([0.0, 8 / 255, 0.1], ["0.1", "0.0314", "0"]),
        ([0.5, 1.0], ["1", "0.5"]),
    ],
)
def test_ticks_of_epsilon(radii, labels):
    places, found = plots.epsilon_ticks(radii)
    assert places == sorted(radii, reverse=True) and found == labels


def test_bars():
    (axes,) = plots.attack_bars(REPORT).axes
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [0.8, 0.4, 0.3, 0.28])
    assert labels_of(axes.get_yticklabels()) == ["clean", "pgd", "cw", "worst case"]
    assert labels_of(axes.texts) == ["80.0%", "40.0%", "30.0%", "28.0%"]
    whiskers = [collection.get_segments()[0][:, 0] for collection in axes.collections]
    expected = [[0.75, 0.84], [0.35, 0.44], [0.25, 0.34], [0.25, 0.31]]
    np.testing.assert_allclose(whiskers, expected)
    assert axes.yaxis_inverted() and axes.get_xlabel() == "accuracy"


def test_sensitivity():
    brightness, gamma = plots.sensitivity_lines(SENSITIVITY).axes
    lines = lines_by_name(brightness)
    np.testing.assert_allclose(lines["clean"].get_xydata(), [[-0.15, 1.0], [0.15, 2.0]])
    np.testing.assert_allclose(lines["pgd"].get_xydata(), [[-0.15, 3.0], [0.15, 4.0]])
    assert lines_by_name(gamma)["clean"].get_color() == lines["clean"].get_color()
    assert labels_of(brightness.get_xticklabels()) == ["\u22120.15", "0.15"]
    assert labels_of(gamma.get_xticklabels()) == ["0.5", "2"] and gamma.get_xscale() == "log"
    assert (brightness.get_xlabel(), gamma.get_xlabel()) == ("brightness shift", "gamma exponent")
    assert "loss sensitivity" in brightness.get_ylabel()
    assert gamma.get_ylim()[1] > 4 and gamma.get_ylim()[0] == 0
    assert labels_of(brightness.get_legend().get_texts()) == ["clean", "pgd"]


def test_a_sensitivity_without_a_value_is_a_gap():
    found = [{"magnitude": m, "value": v} for m, v in ((0.5, None), (2.0, 3.0))]
    nothing = [{"magnitude": 0.5, "value": None}]
    axes = plots.sensitivity_lines({"gamma": {"clean": found, "pgd": nothing}}).axes[0]
    drawn = lines_by_name(axes)["clean"].get_ydata(orig=False)
    np.testing.assert_array_equal(drawn, [np.nan, 3.0])
    assert axes.get_ylim() == pytest.approx((0, 3.18))


def test_shuffled_accuracy():
    accuracies = {"a": {"1": 0.9, "3": 0.5}, "b": {1: 0.8, 2: 0.7, 3: 0.6}}
    (axes,) = plots.shuffle_lines(accuracies, classes=4).axes
    lines = lines_by_name(axes)
    np.testing.assert_allclose(lines["a"].get_xydata(), [[1, 0.9], [3, 0.5]])
    np.testing.assert_allclose(lines["chance"].get_ydata(), 0.25)
    assert labels_of(axes.get_xticklabels()) == ["1\n(whole)", "2", "3"]
    assert labels_of(axes.get_legend().get_texts()) == ["a", "b", "chance"]


def test_many_lines_can_be_told_apart():
    accuracies = {str(i): {1: 0.5, 2: 0.1} for i in range(12)}
    (axes,) = plots.shuffle_lines(accuracies).axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}) == 12


def test_salience_grid():
    maps = {name: RNG.normal(size=IMAGES.shape) for name in ("image", "cifar10_5000_rlfat_p")}
    panels = pictures.salience_grid(IMAGES, maps, NAMES, [2, 0, 1]).axes
    assert len(panels) == 9
    titles = [axes.get_title() for axes in panels]
    assert titles == ["image", "image", "cifar10_5000_\nrlfat_p", *[""] * 6]
    assert [axes.get_ylabel() for axes in panels[::3]] == ["a class with \u2026", "cat", "dog"]
    np.testing.assert_array_equal(shown(panels[3]), IMAGES[1])
    for column, found in enumerate(maps.values()):
        np.testing.assert_array_equal(shown(panels[7 + column]), salience_picture(found)[2])


def test_adversarial_grid():
    delta = np.zeros_like(IMAGES)
    delta[0, 0, 0], delta[1, 2, 1] = 0.1, -0.05
    figure = pictures.adversarial_grid(
        IMAGES, IMAGES + delta, [0, 1, 2], [0, 1, 0], [1, 1, -1], NAMES
    )
    panels = np.reshape(figure.axes, (3, 3))
    assert [axes.get_ylabel() for axes in panels[:, 0]] == [
        "image",
        "perturbation\n\u00d7 4",
        "adversarial",
    ]
    for column in range(3):
        np.testing.assert_array_equal(shown(panels[0, column]), IMAGES[column])
        expected = 0.5 + 4 * delta[column]
        np.testing.assert_allclose(shown(panels[1, column]), expected, atol=1e-5)
        np.testing.assert_array_equal(shown(panels[2, column]), (IMAGES + delta)[column])
    heads = [labels_of(axes.texts) for axes in panels[0]]
    assert heads == [["cat"], ["dog"], ["a class with \u2026"]]
    no_class = ["dog \u2717", "dog \u2713", "no class \u2717"]
    for row, expected in ((0, ["cat \u2713", "dog \u2713", "cat \u2717"]), (2, no_class)):
        for axes, title in zip(panels[row], expected):
            assert axes.get_title() == title
            right = title.endswith("\u2713")
            colour = pictures.RIGHT if right else pictures.WRONG
            assert to_hex(axes.title.get_color()) == colour.lower()


@pytest.mark.parametrize(
    ("largest", "factor"), [(8 / 255, 13.0), (0.15, 2.7), (0.0, 1.0), (0.9, 0.44)]
)
def test_enlargement(largest, factor):
    assert pictures.enlargement(largest) == factor


def test_gray_images_and_large_ones():
    figure = plots.new_figure(2, 2)
    small, large = figure.subplots(1, 2)
    pictures.show_image(small, IMAGES[0, ..., :1])
    pictures.show_image(large, np.zeros((120, 90, 3)))
    for channels in (2, 4, 5):  # no colours: their mean
        image = np.random.default_rng(0).random((3, 2, channels))
        pictures.show_image(large, image)
        np.testing.assert_allclose(large.get_images()[-1].get_array(), image.mean(-1))
    assert shown(small).shape == (8, 6) and small.get_images()[0].get_cmap().name == "gray"
    assert small.get_images()[0].get_clim() == (0, 1)
    assert small.get_images()[0].get_interpolation() == "nearest"
    assert large.get_images()[0].get_interpolation() != "nearest"


@pytest.mark.parametrize("size", [8, 28, 32, 96])
@pytest.mark.parametrize("mode", transforms.BLOCK_SHUFFLES)
def test_block_shuffle_figure(size, mode):
    image = np.arange(size * size, dtype=np.float32).reshape(size, size, 1) / size**2
    seed = pictures.TELLING_SEED
    first, second, third = pictures.block_shuffle_figure(image, mode=mode).axes
    np.testing.assert_array_equal(shown(first), image[..., 0])
    shuffled = transforms.random_block_shuffle(image[None], 3, mode=mode, seed=seed)
    np.testing.assert_array_equal(shown(third), shuffled[0, ..., 0])
    # Seams are where neighbouring rows or columns were no neighbours before.
    rows = np.rint(shown(second)[:, 0] * size).astype(int)
    columns = np.rint(shown(third)[0] * size**2).astype(int)
    seams = {
        "rows": np.flatnonzero(np.diff(rows) != 1) + 0.5,
        "columns": np.flatnonzero(np.diff(columns) != 1) + 0.5,
    }
    solid = [line for line in third.get_lines() if line.get_linestyle() == "-"]
    assert len(solid) == len(third.get_lines()) == 4
    across = [line.get_ydata()[0] for line in solid if line.get_xdata()[0] == 0]
    down = [line.get_xdata()[0] for line in solid if line.get_ydata()[0] == 0]
    np.testing.assert_array_equal(across, seams["rows"])
    np.testing.assert_array_equal(down, seams["columns"])
    assert labels_of(first.get_yticklabels()) == ["1", "2", "3"]
    numbers = labels_of(third.get_yticklabels())
    assert sorted(numbers) == ["1", "2", "3"] and numbers == labels_of(second.get_yticklabels())
    if mode != "image":
        assert numbers != ["1", "2", "3"] != labels_of(third.get_xticklabels())


def test_empty_blocks_are_not_drawn():
    seen = set()
    for seed in range(6):
        axes = pictures.block_shuffle_figure(IMAGES[0], num_blocks=5, seed=seed).axes[0]
        numbers = labels_of(axes.get_yticklabels())
        assert numbers == [str(i + 1) for i in range(len(numbers))]
        borders = [line.get_ydata()[0] for line in axes.get_lines()]
        assert len(set(borders)) == len(borders) == len(numbers) - 1
        assert all(0 < border < 7 for border in borders)
        seen.add(len(numbers))
    assert len(seen) > 1
