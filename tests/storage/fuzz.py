"""Files that nobody has written: damaged at random, or made to do harm; and what watches them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import resource
import signal
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import h5py
import numpy as np

SECONDS, BYTES = 120, 500 * 2**20  # that reading one file may take; many together may need
EVENTS = (
    "compile code.__new__ ctypes.dlopen marshal.loads os.exec os.fork os.forkpty os.link os.mkdir "
    "os.posix_spawn os.remove os.rename os.rmdir os.spawn os.symlink os.system os.truncate "
    "pickle.find_class pty.spawn shutil.copyfile shutil.move shutil.rmtree socket.__new__ "
    "socket.connect socket.getaddrinfo subprocess.Popen tempfile.mkdtemp tempfile.mkstemp "
    "urllib.Request webbrowser.open"
).split()
INSTALLED = ("site-packages", sys.base_prefix, "<frozen", str(Path(__file__).parents[2]))
_watched: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    if event == "exec" and str(arguments[0].co_filename).startswith(("<string>", "<unknown>")):
        _watched.append(f"exec {arguments[0].co_names}")
    if event == "open" and set(str(arguments[1] or "")) & set("wax+"):
        _watched.append(f"open {arguments[0]} for writing")
    # What is installed may be imported, and is then compiled and unmarshalled.
    importing = event in ("compile", "code.__new__", "marshal.loads")
    if event in EVENTS and not importing:
        _watched.append(f"{event} {arguments!r:.200}")
    if event == "import" and str(arguments[0]).split(".")[0] in ("antigravity", "evil", "this"):
        _watched.append(f"import {arguments[0]}")


class Hung(BaseException):
    """Reading a file did not end; no Exception, so that nobody takes it for damage."""


@contextlib.contextmanager
def watched(usual: frozenset[str] = frozenset()) -> Iterator[None]:
    """Fails if code of a file's choice runs, a file is written, or memory is not bounded.

    Args:
        usual: What is no harm, see :func:`events_of`.
    """
    global _watched
    if not hasattr(sys, "_rlfat_tests_watch"):
        sys.addaudithook(_watch)  # for good
        sys._rlfat_tests_watch = True  # type: ignore[attr-defined]

    def stop(*_: Any) -> None:
        raise Hung

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _watched, old = [], signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        found, _watched = set(_watched or ()) - usual, None
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert not found, found
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < BYTES, grown


def events_of(read: Callable[[], Any]) -> frozenset[str]:
    """Returns what reading a file does that is as it should be."""
    global _watched
    with watched():
        read()
        found, _watched = frozenset(_watched or ()), []
    return found


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Lets a test write its files; the time of the next one begins anew."""
    global _watched
    kept, _watched = _watched, None
    try:
        yield
    finally:
        _watched = kept
        signal.alarm(SECONDS)


# Random damage.

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 2**31, 2**63, 10**30, 1e308, float("nan"), "", "exec", "os",
    "builtins", "keras.utils", "get_file", "../../x", "linear", "relu", "Dense", "Lambda",
    "float64", "a" * 1000, "\ud800", "\0", [], {}, [[]], [1, 2], {"class_name": "Dense"},
    {"class_name": "Lambda", "config": {}},
    {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
)  # fmt: skip


def mutated_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Flips, cuts, repeats or inserts some bytes."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(data) + 1))
        end = min(len(data), at + int(rng.integers(1, 64)))
        kind = rng.integers(0, 5)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data[at:end] = rng.bytes(end - at)
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end] * int(rng.integers(1, 9))
        elif at < len(data):
            data[at] ^= 1 << int(rng.integers(0, 8))
        if not data:
            break
    return bytes(data)


def mutated_json(value: Any, rng: np.random.Generator) -> Any:
    """Deletes, replaces, renames or copies some parts of a JSON value, the top excepted."""
    value = copy.deepcopy(value)
    for _ in range(rng.integers(1, 4)):
        places = [(part, key) for part in _parts(value) for key in _keys(part)]
        if not places:
            return value
        part, key = places[rng.integers(0, len(places))]
        other, there = places[rng.integers(0, len(places))]
        kind = rng.integers(0, 5)
        if kind == 0:
            del part[key]
        elif kind == 1 or isinstance(part, list):
            part[key] = copy.deepcopy(VALUES[rng.integers(0, len(VALUES))])
        elif kind == 2:
            part[str(VALUES[rng.integers(0, len(VALUES))])] = part.pop(key)
        elif kind == 3:
            part[key] = copy.deepcopy(other[there])
        elif isinstance(part[key], (int, float)):
            part[key] = part[key] * int(rng.integers(-3, 10**6))
    return value


def _parts(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    here = [value] if isinstance(value, (dict, list)) else []
    return here + [part for item in inner for part in _parts(item)]


def _keys(part: Any) -> list[Any]:
    return list(part) if isinstance(part, dict) else list(range(len(part)))


# Archives of Keras.


def read_parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write_parts(path: Path, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)


def mutate_archive(good: Path, path: Path, rng: np.random.Generator) -> None:
    """Damages an archive, or a part of it whose checksum then is right."""
    kind = rng.integers(0, 10)
    if kind < 4:
        path.write_bytes(mutated_bytes(good.read_bytes(), rng))
        return
    parts = read_parts(good)
    if kind < 8:
        parts["config.json"] = _dumps(mutated_json(json.loads(parts["config.json"]), rng))
    elif kind < 9:
        parts["model.weights.h5"] = mutated_bytes(parts["model.weights.h5"], rng)
    else:
        name = list(parts)[rng.integers(0, len(parts))]
        parts[str(VALUES[rng.integers(12, 20)])] = parts.pop(name)
    write_parts(path, parts)


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


# What a file may try to have called, and where.

TARGETS = [
    (module, name)
    for module, names in {
        "builtins": ("exec", "eval", "compile", "open", "__import__", "getattr", "print"),
        "os": ("system", "popen", "remove", "mkdir", "execv"),
        "subprocess": ("call", "Popen", "check_output"),
        "antigravity": ("geohash",),
        "evil": ("run",),
        "keras": ("Lambda", "load_model"),
        "keras.layers": (
            "Lambda", "TFSMLayer", "StringLookup", "IntegerLookup", "TextVectorization",
            "deserialize", "TorchModuleWrapper", "JaxLayer", "DenseFeatures",
        ),
        "keras.utils": ("get_file", "load_img", "save_img", "FeatureSpace", "plot_model"),
        "keras.src.utils.file_utils": ("get_file", "open"),
        "keras.src.utils.data_utils": ("get_file", "urlretrieve"),
        "keras.src.layers.core.lambda_layer": ("Lambda", "python_utils"),
        "keras.src.layers.rnn.cell_wrappers": ("ResidualWrapper",),
        "keras.models": ("load_model", "model_from_json", "clone_model"),
        "keras.saving": ("load_model", "deserialize_keras_object"),
        "keras.config": ("enable_unsafe_deserialization",),
        "keras.src.ops.core": ("Map", "VectorizedMap", "Cond"),
        "tensorflow": ("py_function", "numpy_function"),
        "tensorflow.io": ("write_file", "read_file"),
        "numpy": ("load", "save", "fromfile"),
        "rlfat_tf": ("load", "export_saved_model"),
        "rlfat_tf.storage.checkpoint": ("save_model",),
        "tests.storage.fuzz": ("watched",),
    }.items()
    for name in names
]  # fmt: skip
PLACES = (
    "layer", "layer by registered name", "layer of no module", "constant", "keyword", "activation",
    "activation as text", "initializer", "loss", "metric", "optimizer", "top", "typespec", "dtype",
)  # fmt: skip


def place(
    config: dict[str, Any], module: str, name: str, where: str, victim: Path
) -> dict[str, Any]:
    """Has a configuration name a function at some place, called with the path of a victim."""
    config = copy.deepcopy(config)
    layers = config["config"]["layers"]
    dense = next(layer for layer in layers if layer["class_name"] == "Dense")
    harm = f"open({str(victim)!r}, 'w')"
    function = {
        "module": module, "class_name": "function", "config": name, "registered_name": name,
    }  # fmt: skip
    call = [["_CONSTANT_VALUE", -1, harm, {"origin": f"file://{victim}"}]]
    if isinstance(dense["inbound_nodes"][0], dict):
        call = {"args": [harm], "kwargs": {"origin": f"file://{victim}"}}  # type: ignore[assignment]
    if where == "layer":
        dense.update(module=module, class_name=name, registered_name=name, inbound_nodes=[call])
    elif where == "layer by registered name":
        dense.update(module=module, registered_name=name, inbound_nodes=[call])
    elif where == "layer of no module":
        dense.pop("module")
        dense.update(class_name=name, inbound_nodes=[call])
    elif where == "constant":
        dense["inbound_nodes"] = [[["_CONSTANT_VALUE", -1, function, {}]]]
        if isinstance(call, dict):
            dense["inbound_nodes"] = [{"args": [function], "kwargs": {}}]
    elif where == "keyword":
        node = dense["inbound_nodes"][0]
        (node["kwargs"] if isinstance(node, dict) else node[0][3])["training"] = function
    elif where == "activation as text":
        dense["config"]["activation"] = name
    elif where == "typespec":
        dense["config"]["activation"] = {
            "class_name": "__typespec__", "spec_name": name, "module": module,
            "registered_name": None, "config": [harm],
        }  # fmt: skip
    elif where in ("activation", "initializer", "dtype"):
        key = "kernel_initializer" if where == "initializer" else where
        dense["config"][key] = function
    elif where == "top":
        config.update(module=module, class_name=name, registered_name=name)
    else:
        compiled = config.setdefault("compile_config", {})
        compiled[where + "s" * (where == "metric")] = [function] if where == "metric" else function
    return config


def hostile_weights(rng: np.random.Generator, elsewhere: Path) -> bytes:
    """Weights that lie elsewhere, or are larger than they are."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("layers/dense/vars")
        kind = rng.integers(0, 8)
        if kind == 0:
            group["0"] = h5py.ExternalLink(str(elsewhere), "/x")
        elif kind == 1:
            group["0"] = h5py.SoftLink("/layers")
        elif kind == 2:
            group.create_dataset("0", (4,), "f4", external=[(str(elsewhere), 0, 16)])
        elif kind == 3:
            group.create_dataset("0", (10**6, 10**6), "f4", chunks=(1, 10**4))
        elif kind == 4:
            group.create_dataset("0", (10**6, 10**6), "f4")
        elif kind == 5:
            group.create_dataset("0", (10**7,), "f4", data=np.zeros(10**7, "f4"), compression=9)
        elif kind == 6:
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(str(elsewhere), "x", shape=(4,))
            group.create_virtual_dataset("0", layout)
        else:
            group.create_dataset("0", data=["x"] * 3, dtype=h5py.string_dtype())
    return buffer.getvalue()
