"""Checks the configuration of a saved model before Keras makes objects of it.

Objects must be on the allow-list, however deep they are nested; strings that Keras looks up must
name a function that is on it; what a layer is called on must be another layer's output, and plain
values beside it. Keras 2 would otherwise call functions of the file's choice, compute arrays of any
size, or search for ever for a layer that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rlfat_tf.core.addons import tfa
from rlfat_tf.storage import allow_list
from rlfat_tf.storage.reading import Refused

MAXIMUM_DEPTH = 200
_LOOKED_UP = re.compile(
    r"(\w+_)?(activation|constraint|initializer|loss|optimizer|regularizer|fn|metrics)"
)
_INPUT, _SPLIT = "InputLayer", ("split", "compat.v1.split")
_NO_LAYER = "_CONSTANT_VALUE"  # what Keras 2 writes instead of a layer's name


def check(config: Any) -> None:
    """Checks the content of ``config.json``.

    Raises:
        Refused: If it names what is not on the allow-list, or is nothing that Keras writes.
    """
    if not isinstance(config, dict):
        raise Refused("its configuration is not one JSON object.")
    try:
        _check(config)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(
            f"its configuration is not what Keras writes ({type(error).__name__}: {error})."
        ) from error


def _check(config: dict[str, Any]) -> None:
    graphs: list[Any] = []
    # A value, its depth, whether it is of a class of the user's, whether a layer is called on it.
    pending: list[tuple[Any, int, bool, bool]] = [(config, 0, False, False)]
    while pending:
        value, depth, custom, called = pending.pop()
        if depth > MAXIMUM_DEPTH:
            raise Refused(f"its configuration is nested more than {MAXIMUM_DEPTH} levels deep.")
        if isinstance(value, list):
            pending.extend((item, depth + 1, custom, called) for item in value)
        elif isinstance(value, dict):
            if "class_name" in value:
                custom = _check_object(value, called)
            if "layers" in value:
                graphs.append(value["layers"])
            for name, item in value.items():
                keras_compiles = name == "compile_config"
                if (keras_compiles or not custom) and _LOOKED_UP.fullmatch(name):
                    _check_names(name, item)
                inner = custom and not keras_compiles
                pending.append((item, depth + 1, inner, called or name == "inbound_nodes"))
    for layers in graphs:
        _check_graph(layers)


def _check_object(entry: dict[str, Any], called: bool) -> bool:
    """Refuses an object that is not on the allow-list; tells whether its class is the user's."""
    name, module = entry["class_name"], entry.get("module")
    if str(module).split(".")[0] == "tensorflow_addons":
        tfa("this saved model")  # whose classes are registered when it is imported
    if called and name not in allow_list.VALUES:
        raise Refused(f"it calls a layer on the object {_described(entry)}, which is no value.")
    if not allow_list.allows(entry):
        raise Refused(
            f"it names {_described(entry)}, which is not known to compute and do nothing else. If "
            "you trust it and it is your own, decorate that class or function with "
            "@keras.utils.register_keras_serializable() and import it first; else load the file "
            "with Keras, save its weights, and set them in a model that your own code builds."
        )
    settings = entry.get("config")
    kind = settings.get("dtype") if name in allow_list.VALUES and settings else None
    if kind is not None and not allow_list.NUMBERS.fullmatch(str(kind)):
        raise Refused(f"it holds an array of {kind!r}; numbers alone are expected.")
    return allow_list.is_custom(entry)


def _described(entry: dict[str, Any]) -> str:
    parts: dict[str, Any] = {
        k: entry.get(k) for k in ("module", "class_name", "registered_name") if k in entry
    }
    settings = entry.get("config")
    if isinstance(settings, str):
        parts["config"] = settings
    elif isinstance(settings, dict) and "function" in settings:
        parts["function"] = settings["function"]
    return str({name: str(value)[:80] for name, value in parts.items()})


def _check_names(key: str, value: Any) -> None:
    """Refuses strings by which Keras would find something that is not on the allow-list."""
    if isinstance(value, str):
        if not allow_list.allows_name(value):
            raise Refused(f"its {key} is {value[:80]!r}, which is none of Keras's nor registered.")
    elif isinstance(value, list):
        for item in value:
            _check_names(key, item)
    elif isinstance(value, dict) and "class_name" not in value:
        for item in value.values():
            _check_names(key, item)


# The calls of a functional model's layers.


def _check_graph(layers: Any) -> None:
    """Refuses layers whose calls take no tensor, or wait for what no other layer gives."""
    if not isinstance(layers, list):
        return  # of a class of the user's
    entries = {
        entry["name"]: entry
        for entry in layers
        if isinstance(entry, dict) and "inbound_nodes" in entry
    }
    waiting = {
        name: [_references(node) for node in entry["inbound_nodes"]]
        for name, entry in entries.items()
    }
    for name, calls in waiting.items():
        for references in calls:
            unknown = [reference[0] for reference in references if reference[0] not in entries]
            if not references or unknown:
                raise Refused(
                    f"its layer {name!r} is called on {unknown or 'constants alone'}; expected "
                    "outputs of other layers."
                )
            for inbound, call, output, keyword in references:
                if keyword and output >= _number_of_outputs(entries[inbound], call):
                    raise Refused(f"{inbound!r} is not known to have an output {output}.")
    _check_order(entries, waiting)


def _check_order(entries: dict[str, Any], waiting: dict[str, list[Any]]) -> None:
    """Goes through the calls as Keras does, which never ends if some wait for one another."""
    first = {name: _first_call(entry) for name, entry in entries.items()}
    done, changed = dict(first), True
    waiting = {name: list(calls) for name, calls in waiting.items() if calls}
    while waiting and changed:
        changed = False
        for name in list(waiting):
            calls = waiting[name]
            while calls and all(
                entries[inbound]["class_name"] == _INPUT or first[inbound] <= call < done[inbound]
                for inbound, call, *_ in calls[0]
            ):
                calls.pop(0)
                done[name] += 1
                changed = True
            if not calls:
                del waiting[name]
    if waiting:
        raise Refused(f"its layers {sorted(waiting)[:5]} wait for calls that are not there.")


def _first_call(entry: dict[str, Any]) -> int:
    """Returns the number of a layer's first call in the file.

    Keras 2 counts the call of a nested model on its own inputs, and does not write it; Keras 3 does
    neither.
    """
    settings = entry.get("config")
    nested = settings.get("layers") if isinstance(settings, dict) else None
    if not nested or any(isinstance(node, dict) for node in entry["inbound_nodes"]):
        return 0
    shaped = "batch_input_shape" in (nested[0].get("config") or {})
    return int(nested[0]["class_name"] == _INPUT or shaped)


def _number_of_outputs(entry: dict[str, Any], call: int) -> int:
    """Returns how many outputs a layer of Keras 2 is known to have."""
    if entry["config"].get("function") not in _SPLIT:
        return 1
    (settings,) = (part[3] for part in _atoms(entry["inbound_nodes"][call]))
    parts = settings["num_or_size_splits"]
    return len(parts) if isinstance(parts, list) else int(parts)


def _references(node: Any) -> list[tuple[str, int, int, bool]]:
    """Returns what a call takes: layer, number of its call and output, whether by keyword."""
    if isinstance(node, dict):  # as Keras 3 writes it
        return [(*_history(tensor), False) for tensor in _keras_tensors(node)]
    found = []
    for atom in _atoms(node):
        keywords = list(_atoms(atom[3])) if len(atom) == 4 else []
        positional = [] if atom[0] == _NO_LAYER else [atom]
        found += [(*_integers(part), False) for part in positional]
        found += [(*_integers(part), True) for part in keywords]
    return found


def _keras_tensors(node: Any) -> Iterator[dict[str, Any]]:
    pending = [node]
    while pending:
        value = pending.pop()
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            yield value
        elif isinstance(value, (dict, list)):
            pending.extend(value.values() if isinstance(value, dict) else value)


def _history(tensor: dict[str, Any]) -> tuple[str, int, int]:
    return _integers(tensor["config"]["keras_history"])


def _atoms(value: Any) -> Iterator[list[Any]]:
    """Yields the lists by which Keras 2 names a tensor: a string and two or three further items."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, list) and len(part) in (3, 4) and isinstance(part[0], str):
            yield part
        elif isinstance(part, (dict, list)):
            pending.extend(part.values() if isinstance(part, dict) else part)


def _integers(parts: list[Any]) -> tuple[str, int, int]:
    name, call, output = parts[:3]
    if type(call) is not int or type(output) is not int or call < 0 or output < 0:
        raise Refused(f"{parts[:3]} names no output of a layer.")
    return str(name), call, output
