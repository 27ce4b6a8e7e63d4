"""Compares the corruptions with two other programs, image by image where nothing is random.

    python -m benchmarks.corruptions --data_dir=DIR --output=results/benchmarks/corruptions.json

Needs ``pip install imagecorruptions-imaug opencv-python-headless scikit-image``. The package
``imagecorruptions`` is compared at 224 pixels, on pieces of two photographs that scikit-learn
brings; the code of ``imagenet2012_corrupted`` in TensorFlow Datasets at 32, on CIFAR-10's test
images, with the strengths for 224 that it has. What needs ImageMagick or photographs of frost in
TFDS is left out; what depends on the side there is compared at 224 as well.

Of a corruption without draws the file has the share of equal values and the largest and mean
difference, in units of 255. Of a random one it has mean and standard deviation of what was added to
the clean image, ours and theirs, by severity: the draws differ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rlfat_tf import data
from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions.draws import Draws
from rlfat_tf.data.corruptions.making import CORRUPTIONS, ROUNDING, SEVERITIES, apply
from rlfat_tf.data.corruptions.tables import TABLES

CERTAIN = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression",
           "gaussian_blur", "saturate")  # fmt: skip
NOT_IN_TFDS = ("motion_blur", "snow", "frost")
# How theirs differ from the published code or from ours, as read in their sources.
DIFFERENCES = {
    "imagecorruptions": {
        "zoom_blur": "keeps the upper left of an enlarged image instead of its middle",
        "elastic_transform": "no affine map, other strengths: not those of ImageNet-C",
        "frost": "photographs; ours is drawn",
        "spatter": "water (severity 1 to 3) shaded by OpenCV; ours by slope",
        "motion_blur": "its own in place of ImageMagick's, and so is ours",
        "defocus_blur": "kernel in float32",
        "*": "a whole number that rounding has made smaller is cut to the one below, ours stays",
    },
    "tfds": {
        "*": "rounds to whole numbers, and here ours too; the published code and ours cut off",
        "fog": "a map of 512 pixels of which a small image sees a corner; ours fits the image",
        "pixelate": "Pillow's default filter, bicubic today, in place of areas",
        "elastic_transform": "OpenCV's affine map, to 1/32 pixel; its strengths are pixels, at any "
        "side, ours shares of the side",
        "spatter": "water (severity 1 to 3) shaded by OpenCV; ours by slope",
    },
}


def photographs(side: int = 224) -> Array:
    """Returns pieces of this side of scikit-learn's two photographs, each twice."""
    from sklearn.datasets import load_sample_images

    pieces = [
        image[top : top + side, left : left + side]
        for image in load_sample_images().images
        for top in range(0, image.shape[0] - side + 1, 100)
        for left in range(0, image.shape[1] - side + 1, 200)
    ]
    return np.stack(2 * pieces)


def of_imagecorruptions(image: Array, name: str, severity: int) -> Array:
    """Corrupts one image by the package."""
    import imagecorruptions

    return np.asarray(imagecorruptions.corrupt(image, corruption_name=name, severity=severity))


def of_tfds(image: Array, name: str, severity: int) -> Array:
    """Corrupts one image by the code of TFDS."""
    import scipy.ndimage
    from tensorflow_datasets.image_classification import corruptions

    # A name that SciPy has removed.
    scipy.ndimage.interpolation = scipy.ndimage
    return np.asarray(getattr(corruptions, name)(image, severity))


def compare(
    images: Array,
    names: Sequence[str],
    theirs: Callable[[Array, str, int], Array],
    whole: Callable[[Array], Array] = np.floor,
) -> dict[str, Any]:
    """Compares corruptions at all severities on some images.

    Args:
        images: uint8 [n, H, W, 3].
        names: Of the corruptions.
        theirs: Corrupts one image.
        whole: How theirs makes whole numbers.
    """
    found: dict[str, Any] = {}
    for name in names:
        added: dict[str, list[Array]] = {"ours": [], "theirs": []}
        for severity in SEVERITIES:
            np.random.seed(severity)
            other = np.stack([theirs(image.copy(), name, severity) for image in images])
            draws = Draws(0, name, severity, range(len(images)))
            own = apply(images, name, draws, TABLES[name][224][severity - 1])
            own = whole(255 * own + (ROUNDING if whole is np.floor else 0))
            added["ours"].append(own - images.astype(np.float64))
            added["theirs"].append(other - images.astype(np.float64))
        if name in CERTAIN:
            apart = np.abs(np.stack(added["ours"]) - np.stack(added["theirs"]))
            found[name] = {
                "equal": round(float((apart == 0).mean()), 5),
                "at_most_1": round(float((apart <= 1).mean()), 5),
                "largest": int(apart.max()),
                "mean": round(float(apart.mean()), 4),
            }
        else:
            found[name] = {
                side: {
                    "mean": [round(float(some.mean()), 2) for some in of_side],
                    "deviation": [round(float(some.std()), 2) for some in of_side],
                }
                for side, of_side in added.items()
            }
        print(name, json.dumps(found[name]), flush=True)
    return found


def main() -> None:
    """Compares and writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data_dir", help="folder of prepared TFDS data sets")
    parser.add_argument("--examples", type=int, default=64, help="images of CIFAR-10")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/corruptions.json"))
    args = parser.parse_args()
    large = photographs()
    small = data.load(
        "cifar10", data_dir=args.data_dir, test_examples=args.examples, test_only=True
    ).test.images
    in_tfds = [name for name in CORRUPTIONS if name not in NOT_IN_TFDS]
    result = {
        "imagecorruptions": {
            "version": version("imagecorruptions-imaug"),
            "images": list(large.shape),
            "differences": DIFFERENCES["imagecorruptions"],
            "corruptions": compare(large, list(CORRUPTIONS), of_imagecorruptions),
        },
        "tfds": {
            "version": version("tensorflow-datasets"),
            "images": list(small.shape),
            "left_out": list(NOT_IN_TFDS),
            "differences": DIFFERENCES["tfds"],
            "corruptions": compare(small, in_tfds, of_tfds, np.around),
            "at_224": compare(large, ["fog", "elastic_transform"], of_tfds, np.around),
        },
        "pillow": version("pillow"),
    }
    args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
