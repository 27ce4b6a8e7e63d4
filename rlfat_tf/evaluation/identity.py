"""What a traced function computes, as a digest that every process agrees on.

Two classifiers may share their name, or even their weights, and compute different things: what
counts is the function. Its traced graph holds the operations with their constants, and refers to
the variables that it reads; whatever Python made it, a Keras model, a SavedModel, a wrapper around
one or a lambda, looks the same here. What a graph cannot tell is what Python code computes that
TensorFlow merely calls (``tf.numpy_function``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

# Attributes that name a thing by a counter of the process, or that seed a draw.
UNSTABLE = {"shared_name", "container", "token", "seed", "seed2", "debug_name", "config_proto"}


def digest(function: Any) -> str:
    """Returns a digest of what a traced function computes.

    Args:
        function: The result of ``tf.function(...).get_concrete_function(...)``.

    Returns:
        16 hexadecimal digits, of the operations, their constants, and the values that the function
        takes from outside. Variables of integers are left out: they are the states of random
        generators and counters, which change with every call.
    """
    total = hashlib.sha256()
    definition = function.graph.as_graph_def()
    library = {item.signature.name: item for item in definition.library.function}
    for part in _described(definition.node, [], library, {}):
        total.update(part)
    variables = {id(v.handle): v for known in function.variables for v in _local(known)}
    for captured in function.captured_inputs:
        variable = variables.get(id(captured))
        if variable is None and captured.dtype not in (tf.resource, tf.variant):
            total.update(captured.numpy().tobytes())
        elif variable is not None and variable.dtype.is_floating:
            total.update(variable.numpy().tobytes())
    return total.hexdigest()[:16]


def _local(variable: Any) -> tuple[Any, ...]:
    """Returns the variables behind one that is spread over replicas, else the variable."""
    if isinstance(variable, tf.distribute.DistributedValues):
        results: tuple[Any, ...] = variable.distribute_strategy.experimental_local_results(variable)
        return results
    return (variable,)


def _described(
    nodes: Any, arguments: Any, library: dict[str, Any], known: dict[str, bytes]
) -> Iterator[bytes]:
    """Yields every operation without the names that TensorFlow numbers as it goes."""
    named = [argument.name for argument in arguments] + [node.name for node in nodes]
    place = {name: str(number) for number, name in enumerate(named)}
    for node in nodes:
        inputs = [_renamed(name, place) for name in node.input]
        data = [name for name in inputs if not name.startswith("^")]
        control = sorted(name for name in inputs if name.startswith("^"))
        yield (_function(node.op, library, known) if node.op in library else node.op.encode())
        yield repr((data, control)).encode()
        for name in sorted(node.attr):
            if not name.startswith("_") and name not in UNSTABLE:
                yield name.encode()
                yield from _attribute(node.attr[name], library, known)


def _renamed(source: str, place: dict[str, str]) -> str:
    """Returns an input, such as ``^name`` or ``name:output:0``, by its place in the graph."""
    name, *output = source.lstrip("^").split(":")
    return ":".join(["^" * source.startswith("^") + place.get(name, name), *output])


def _attribute(value: Any, library: dict[str, Any], known: dict[str, bytes]) -> Iterator[bytes]:
    functions = [value.func] if value.HasField("func") else value.list.func
    if not functions:
        yield value.SerializeToString(deterministic=True)
    for function in functions:
        yield _function(function.name, library, known)


def _function(name: str, library: dict[str, Any], known: dict[str, bytes]) -> bytes:
    """Returns the digest of a function that a graph calls."""
    if name not in library:
        return name.encode()
    if name not in known:
        known[name] = b"itself"  # of a function that calls itself
        function = library[name]
        arguments, body = function.signature.input_arg, hashlib.sha256()
        for part in _described(function.node_def, arguments, library, known):
            body.update(part)
        place = {a.name: str(n) for n, a in enumerate([*arguments, *function.node_def])}
        for output in function.signature.output_arg:
            body.update(_renamed(function.ret[output.name], place).encode())
        known[name] = body.digest()
    return known[name]
