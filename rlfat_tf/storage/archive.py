"""What a ``.keras`` file may hold: it is data, and loading it must not run what it says.

Keras's ``safe_mode`` refuses some Lambda layers. Here all is refused that is no whole archive of
the parts that Keras writes, which Keras 2 would read as a format of its past that no ``safe_mode``
guards; every object that is not on the list of :mod:`rlfat_tf.storage.allow_list`; weights that lie
elsewhere; and what would take much more memory than the file.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path, PurePosixPath

from rlfat_tf.storage import saved_config, weights
from rlfat_tf.storage.reading import Damaged, Refused, as_written

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
ASSETS = "assets/"
HDF5 = b"\x89HDF\r\n\x1a\n"  # how such a file begins
MAXIMUM_PARTS = 10_000
# Of all parts together, in bytes: Keras does not compress them.
FACTOR, ALLOWANCE = 10, 2**24


def check(path: Path) -> int:
    """Checks a ``.keras`` file before it is loaded.

    Returns:
        The bytes of its weights.

    Raises:
        Damaged: If it is truncated or its content is not what was written.
        Refused: If it names files outside of the archive or objects that may do more than compute,
            or would take much more memory than it holds.
        OSError: If it cannot be read.
    """
    _refuse_hdf5(path)
    try:
        with as_written(path, "It must be a whole .keras file."):
            with zipfile.ZipFile(path) as file:
                _check_parts(file, path.stat().st_size)
                broken = file.testzip()
                if broken is not None:
                    raise Damaged(f"{path} is damaged: its part {broken} is not what was written.")
                json.loads(file.read(METADATA))
                config, content = json.loads(file.read(CONFIG)), file.read(WEIGHTS)
            saved_config.check(config)
            return weights.check(io.BytesIO(content))
    except Refused as error:
        raise Refused(f"{path} is refused: {error}") from error


def _refuse_hdf5(path: Path) -> None:
    """Refuses a file in the older format of Keras, and says how to get the newer one."""
    with open(path, "rb") as file:
        beginning = file.read(len(HDF5))
    if beginning == HDF5:
        raise Refused(
            f"Expected a .keras file; {path} is an HDF5 file. If it holds a whole model, convert "
            f"it: keras.models.load_model({str(path)!r}).save('model.keras'). If it holds weights "
            "alone, build the model, call its load_weights and save it so."
        )


def _check_parts(file: zipfile.ZipFile, size: int) -> None:
    """Refuses an archive that is not one of Keras's."""
    members = file.infolist()
    names = [member.filename for member in members]
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise Refused(f"it names the file {name!r}, outside of itself.")
        if name not in (CONFIG, METADATA, WEIGHTS) and not name.startswith(ASSETS):
            raise Refused(f"it holds {name!r}, which Keras does not write.")
    if len(set(names)) < len(names) or len(names) > MAXIMUM_PARTS:
        raise Refused(f"it holds parts of the same name, or more than {MAXIMUM_PARTS}.")
    if any(m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for m in members):
        raise Refused("its parts are compressed in a way that Keras does not use.")
    total = sum(member.file_size for member in members)
    if total > FACTOR * size + ALLOWANCE:
        raise Refused(f"its {size} bytes would become {total}.")
