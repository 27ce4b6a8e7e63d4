"""How Keras writes models: what it looks up for each, and what its archives for serving hold."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rlfat_tf.core.compat.stack import KERAS_3, keras
from rlfat_tf.core.types import Model

_skipped: dict[str, Any] = {}  # by the kind of object, for all savings of this process
_within: list[Any] = []  # what Keras had, once for each thread that is saving
_lock = threading.Lock()


def loads_again(application: str) -> bool:
    """Tells whether Keras loads what it has saved of a network of ``keras.applications``.

    Keras 2 does not find the operator again by which ConvNeXt adds its maps.
    """
    return KERAS_3 or not application.startswith("ConvNeXt")


@contextlib.contextmanager
def frugal_saving() -> Iterator[None]:
    """Lets Keras 3 remember, while models are saved in this context, what every saving looks up.

    Keras 3 (3.15 for one) stores the answer under another name than it asks for. So each saving of
    a model with an optimizer makes an optimizer to look at, of which some 60 kB stay for good.
    Outside of the context Keras is as it was.
    """
    if not KERAS_3:
        yield
        return
    library = keras.src.saving.saving_lib
    with _lock:
        if not _within:
            _within.append(library.get_attr_skipset)
            library.get_attr_skipset = functools.partial(_remembered, _within[0])
        else:
            _within.append(_within[0])
    try:
        yield
    finally:
        with _lock:
            look_up = _within.pop()
            if not _within:
                library.get_attr_skipset = look_up


def _remembered(look_up: Callable[[str], Any], kind: str) -> Any:
    if kind not in _skipped:
        _skipped[kind] = look_up(kind)
    return _skipped[kind]


def serving_archive(model: Model) -> tuple[Any, Any]:
    """Returns an ``ExportArchive`` of a model, and the object whose attributes are saved with it.

    Keras 2 saves the archive itself, Keras 3 an object that it keeps within.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    return archive, archive._tf_trackable if KERAS_3 else archive


def write_archive(archive: Any, path: Path, *, verbose: bool) -> None:
    """Writes a SavedModel.

    Keras says afterwards which variables every signature has captured. Keras 3 can be asked not to;
    Keras 2 prints it, unless it shall print nothing to a person.
    """
    if KERAS_3:
        archive.write_out(str(path), verbose=verbose)
        return
    prints = keras.utils.is_interactive_logging_enabled()
    if not verbose:
        keras.utils.disable_interactive_logging()
    try:
        archive.write_out(str(path))
    finally:
        if prints:
            keras.utils.enable_interactive_logging()
