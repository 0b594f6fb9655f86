"""Named arrays as bytes: what a packed table consists of.

The form is that of safetensors: a JSON header with types and shapes, which is checked against the
length of what follows, and raw little-endian numbers. Nothing is executed when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from p2prec.errors import StoreError

Arrays = dict[str, NDArray[np.generic]]


def packed_arrays(arrays: Mapping[str, NDArray[np.generic]], *, form: str) -> bytes:
    """The bytes of arrays, which name their form."""
    from safetensors.numpy import save

    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(save(plain, metadata={"form": form}))


def read_arrays(
    data: bytes,
    shapes: Mapping[str, tuple[np.dtype[np.generic], tuple[int | None, ...]]],
    *,
    form: str,
) -> Arrays:
    """Arrays of exactly these names, types and shapes.

    Args:
        data: As of ``packed_arrays``.
        shapes: Type and shape by name; None where a length may be any.
        form: That the bytes are to name.

    Raises:
        StoreError: They are of another form, damaged, or do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found: Arrays = dict(load(data))
        named = _form_of(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"these bytes are no packed table: {error}") from None
    if named != form:
        raise StoreError(f"a packed table of the form {named!r} cannot be read as {form!r}")
    if set(found) != set(shapes):
        raise StoreError(f"a packed table of the form {form!r} has other parts: {sorted(found)}")
    for name, (kind, shape) in shapes.items():
        array = found[name]
        fits = len(array.shape) == len(shape) and all(
            want is None or have == want for have, want in zip(array.shape, shape, strict=True)
        )
        if array.dtype != kind or not fits:
            raise StoreError(
                f"{name} of a packed table is {array.dtype} {array.shape}, not {kind} {shape}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise StoreError(f"{name} of a packed table holds what is no number")
    return found


def _form_of(data: bytes) -> str:
    import json

    length = int.from_bytes(data[:8], "little")
    return str(json.loads(data[8 : 8 + length])["__metadata__"]["form"])
