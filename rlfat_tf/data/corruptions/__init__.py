"""Common corruptions of test images: noise, blur, weather, digital; 19 kinds at five severities.

    corrupted = rlfat_tf.data.corruptions.corrupt(images, "fog", severity=3)  # 8 bit, any size

The kinds and strengths are those of Hendrycks and Dietterich (ICLR 2019), made anew by this library
for any data set. What comes out is in the manner of CIFAR-10-C and ImageNet-C, and not these: their
files are read by ``corrupted:<folder>/<corruption>/<severity>``.
"""

from __future__ import annotations

from rlfat_tf.data.corruptions.making import (
    BENCHMARK,
    CORRUPTIONS,
    EXTRA,
    SEVERITIES,
    corrupt,
    parse,
)

__all__ = ["BENCHMARK", "CORRUPTIONS", "EXTRA", "SEVERITIES", "corrupt", "parse"]
