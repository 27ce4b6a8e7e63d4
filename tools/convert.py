"""Converts an exported SavedModel to TF Lite or ONNX and compares what the two answer.

    python tools/convert.py --to=tflite runs/digits_rlfat_p/export model.tflite
    python tools/convert.py --to=onnx runs/digits_rlfat_p/export model.onnx --images=images.npy

Needs TensorFlow, and for ONNX tf2onnx and onnxruntime, but not this library: run it in an
environment of its own, see docs/serving.md for versions that work together. Fails if an output
differs from the SavedModel's by more than ``--tolerance``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import subprocess
import sys
from typing import Any

import numpy as np
import tensorflow as tf

PACKAGES = (
    "tensorflow", "tensorflow-cpu", "ai-edge-litert", "tf2onnx", "onnx", "onnxruntime", "numpy",
    "protobuf",
)  # fmt: skip


def to_tflite(saved_model: str, signature: str, output: str) -> Any:
    """Writes a TF Lite model and returns a function from images to its outputs."""
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=[signature])
    with open(output, "wb") as file:
        file.write(converter.convert())
    try:  # the successor of TensorFlow's own interpreter
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = tf.lite.Interpreter
    return Interpreter(model_path=output).get_signature_runner(signature)


def to_onnx(saved_model: str, signature: str, output: str) -> Any:
    """Writes an ONNX model and returns a function from images to its outputs."""
    import onnxruntime

    command = [sys.executable, "-m", "tf2onnx.convert", f"--saved-model={saved_model}"]
    command += [f"--signature_def={signature}", f"--output={output}", "--opset=17"]
    subprocess.run(command, check=True)
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"images": images})))


def read_images(path: str | None, spec: Any) -> Any:
    """Returns images of a signature's type; 16 random ones if no file of them is given."""
    if path is None:
        images = np.random.default_rng(0).integers(0, 256, (16, *spec.shape[1:]), np.uint8)
    else:
        images = np.load(path, allow_pickle=False)
    if images.dtype == np.uint8 and spec.dtype == tf.float32:
        images = images.astype(np.float32) / 255
    return images


def largest_differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """Returns the largest difference of every output."""
    if set(one) != set(other):
        raise SystemExit(f"The outputs are {sorted(one)} before and {sorted(other)} after.")
    for name in one:
        if np.shape(one[name]) != np.shape(other[name]):
            raise SystemExit(
                f"{name} has shape {np.shape(one[name])} before and {np.shape(other[name])} after."
            )
    return {k: float(np.max(np.abs(np.subtract(one[k], other[k])), initial=0.0)) for k in one}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("saved_model", help="folder of the SavedModel")
    parser.add_argument("output", help="file to write")
    parser.add_argument("--to", choices=("tflite", "onnx"), required=True)
    parser.add_argument("--signature", default="serving_default")
    parser.add_argument("--images", help="a .npy file, uint8 or float32 in [0, 1]; default: random")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    convert = {"tflite": to_tflite, "onnx": to_onnx}[arguments.to]
    converted = convert(arguments.saved_model, arguments.signature, arguments.output)
    loaded = tf.saved_model.load(arguments.saved_model)  # it owns the signature's variables
    served = loaded.signatures[arguments.signature]
    images = read_images(arguments.images, served.structured_input_signature[1]["images"])
    worst = 0.0
    for batch in (images, images[:1]):  # one converted model takes batches of any size
        wanted = {name: value.numpy() for name, value in served(images=tf.constant(batch)).items()}
        differences = largest_differences(wanted, converted(images=batch))
        worst = float(np.max([worst, *differences.values()]))  # NaN if there is one
        shown = ", ".join(f"{name} {value:.1e}" for name, value in sorted(differences.items()))
        print(f"{len(batch)} images, largest difference: {shown}")
    versions = [f"python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    print(", ".join(versions))
    if not worst <= arguments.tolerance:
        raise SystemExit(f"A difference of {worst:.1e} is above {arguments.tolerance:.1e}.")


if __name__ == "__main__":
    main()
