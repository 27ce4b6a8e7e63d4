"""Immutable objects whose arguments are annotated fields, each declared once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rlfat_tf.attacks.arguments import (
    by_keyword_only,
    complete,
    docstring_with_arguments,
    fields_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_):
        """Tells type checkers and editors which constructor the subclasses have."""
        return lambda cls: cls


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,)
)
class Declared:
    """Base of the attacks and of the regularisers.

    Every subclass is a frozen dataclass without a decorator. Its arguments are its annotated
    fields, taken by keyword, see :mod:`rlfat_tf.attacks.arguments`.
    """

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            raise TypeError(
                f"Expected the arguments of {cls.__name__} as annotated fields, "
                "epsilon: float = 0.1, and no __init__; see docs/extending.md."
            )
        dataclasses.dataclass(frozen=True, repr=False)(cls)
        cls.__init__ = by_keyword_only(cls)  # type: ignore[method-assign]
        cls.__doc__ = docstring_with_arguments(cls)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_given", complete(self))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments as they were given; those left open are None."""
        return dict(self._given)  # type: ignore[attr-defined]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Makes an object of :meth:`get_config`'s result."""
        return cls(**config)

    def replace(self, **changes: Any) -> Self:
        """Returns the same with some arguments changed.

        A default that follows from other arguments follows them again, unless it was given:
        ``LinfPGD(epsilon=0.1).replace(epsilon=0.2)`` takes steps twice as long.
        """
        return type(self)(**{**self.get_config(), **changes})

    def __repr__(self) -> str:
        names = (field.name for field in fields_of(self) if field.init)
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({arguments})"
