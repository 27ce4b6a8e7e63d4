"""Terms that compose with every training method: `regularizer=` of a method, `--regularizer=`."""

from __future__ import annotations

import dataclasses

from rlfat_tf.attacks.arguments import fields_of
from rlfat_tf.core.errors import unknown
from rlfat_tf.methods.regularizers.base import Regularizer
from rlfat_tf.methods.regularizers.grad_align import GradAlign
from rlfat_tf.methods.regularizers.lsp import LSP

REGULARIZERS: dict[str, type[Regularizer]] = {"lsp": LSP, "grad_align": GradAlign}
OF_THE_RUN = ("norm", "epsilon")  # arguments that are no flags of their own

__all__ = ["REGULARIZERS", "GradAlign", "LSP", "Regularizer", "flags_of", "names_in"]


def flags_of(name: str) -> dict[str, dataclasses.Field[object]]:
    """Returns the arguments of a regulariser by the names of their flags."""
    fields = fields_of(REGULARIZERS[name])
    return {f"{name}_{field.name}": field for field in fields if field.name not in OF_THE_RUN}


def names_in(text: str | None) -> tuple[str, ...]:
    """Returns the names of ``--regularizer``, such as ``lsp+grad_align``.

    Raises:
        ValueError: If one is unknown or there twice.
    """
    names = tuple(name.strip() for name in text.split("+")) if text else ()
    for name in names:
        if name not in REGULARIZERS:
            raise unknown("value of --regularizer:", name, REGULARIZERS)
        if names.count(name) > 1:
            raise ValueError(f"Expected every term of --regularizer once; {name!r} is there twice.")
    return names
