"""Training examples with a share of extra ones in every batch, generated images for instance."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from rlfat_tf.data.arrays import check_range
from rlfat_tf.data.source import Source


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Real examples and extra ones.

    An epoch is one of the real examples; the extra ones are walked through in an order of their
    own, as often as the run is long. Real and extra places alternate evenly within a batch, so that
    the slice of every replica has the share, to within one example.

    Attributes:
        real: The training examples.
        extra: Further examples, of the same image shape and the same classes; None for no others.
        share: Of a batch that is extra, in [0, 1); of B examples ``round(share * B)``, which is at
            least one unless the share is 0.
        label_smoothing: s in the labels of extra examples, (1 - s) y + s / K; in [0, 1).

    Raises:
        ValueError: If the two do not fit together or a number is out of its range.
    """

    real: Source
    extra: Source | None = None
    share: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("share", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"Expected {name} in [0, 1); received {getattr(self, name)}.")
        if self.extra is None:
            return
        if self.extra.image_shape != self.real.image_shape:
            raise ValueError(
                f"Expected extra images of the shape {self.real.image_shape}, as the training "
                f"images; received {self.extra.image_shape}. Bring both to one size "
                "(--image_size)."
            )
        if not len(self.extra):
            raise ValueError("Expected at least one extra example; received none.")

    def __len__(self) -> int:
        """The number of real examples, of which an epoch is made."""
        return len(self.real)

    @property
    def others(self) -> Source:
        """The extra examples, or the real ones where there are no others."""
        return self.real if self.extra is None else self.extra

    def check_classes(self, num_classes: int) -> None:
        """Raises ValueError if a label of an extra example is no class."""
        if self.extra is not None:
            check_range(self.extra.labels, num_classes, "extra")

    def places(self, batch_size: int) -> np.ndarray:
        """Returns which places of a batch are extra, bool [batch_size].

        Raises:
            ValueError: If there would be no real example, more extra ones than there are, or none
                though the share is above 0.
        """
        extra = 0 if self.extra is None else round(self.share * batch_size)
        if self.extra is not None and self.share and not extra:
            raise ValueError(
                f"Of a batch of {batch_size}, a share of {self.share} extra examples is less than "
                f"half an example, and rounds to none. Use an --extra_share above "
                f"{0.5 / batch_size:.4g}, or a --batch_size of at least "
                f"{math.floor(0.5 / self.share) + 1}."
            )
        if extra == batch_size:
            raise ValueError(
                f"Of a batch of {batch_size}, a share of {self.share} extra examples leaves no "
                "real one. Use a larger --batch_size or a smaller --extra_share."
            )
        if self.extra is not None and extra > len(self.extra):
            raise ValueError(
                f"A batch has {extra} extra examples, but there are {len(self.extra)}. Use a "
                "smaller --batch_size or --extra_share."
            )
        before = np.arange(batch_size + 1) * extra // batch_size
        return before[1:] > before[:-1]
