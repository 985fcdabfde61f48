"""Values in NPY files that hold Python objects, read without running anything that is in them.

Such a file is a pickle, and a pickle can name any function to be called while it is read. Here it
can name what numpy's arrays, types and numbers are pickled with, sets, and paths; in the place of
each stands a plain function of this module, so that not even numpy's own way of making arrays out
of pickles is run. Everything else is refused by name. Arrays are made of their bytes, when these
are as many as their type and shape say.
"""

from __future__ import annotations

import mmap
import pickle
import pickletools
import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from napari_nucleus.errors import AnnotationError

__all__ = ["LARGEST_FILE", "holds_objects", "load_dict"]

KINDS = "biufcSU"
"""Kinds of numpy types whose values are plain bytes."""

LARGEST_FILE = 4 * 2**30
"""Bytes of a file that is looked through."""

REFUSED_OPCODES = frozenset(
    ("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEXT_BUFFER")
)
"""Steps of a pickle that numpy never takes."""


def holds_objects(path: Path) -> bool:
    """Return True if an NPY file holds Python objects, not numbers; False for any other file."""
    try:
        with open(path, "rb") as file:
            return _header(file)[1].kind == "O"
    except ValueError:
        return False


def load_dict(path: Path) -> dict[Any, Any]:
    """Return the dict in an NPY file, as ``numpy.save`` writes one.

    Its values are arrays, numbers, texts, or lists, dicts and sets; what these hold in turn is
    plain as well, but arrays in them are left out.

    Raises
    ------
    AnnotationError
        If the file holds no dict, is damaged, or names anything that is not one of these.
    """
    name = path.name
    if path.stat().st_size > LARGEST_FILE:
        raise AnnotationError(f"{name}: is larger than {LARGEST_FILE:,} bytes.")
    with open(path, "rb") as file:
        try:
            _header(file)
        except ValueError as error:
            raise AnnotationError(f"{name}: is no NPY file ({error}).") from error
        begin = file.tell()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            whole.seek(begin)
            found = _read(cast(BinaryIO, whole), name)
    # An array of no dimensions, or of one, around the one object.
    objects = found.value if isinstance(found, _Array) else found
    if isinstance(objects, list) and len(objects) == 1:
        objects = objects[0]
    if not isinstance(objects, dict):
        raise AnnotationError(f"{name}: holds no dict of arrays.")
    return {k: v.value if isinstance(v, _Array) else v for k, v in objects.items()}


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    forms = np.lib.format
    read = forms.read_array_header_1_0 if version == (1, 0) else forms.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _read(file: BinaryIO, name: str) -> Any:
    """Return the object in a pickle, from where the file stands."""
    begin = file.tell()
    try:
        _check_steps(file, name)
        file.seek(begin)
        return _Unpickler(file, name).load()
    except (AnnotationError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle raises what it likes
        raise AnnotationError(f"{name}: is damaged ({type(error).__name__}: {error}).") from error


def _check_steps(file: BinaryIO, name: str) -> None:
    """Look through a pickle without following it: all its data must be there, and no odd step."""
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in REFUSED_OPCODES:
            raise AnnotationError(f"{name}: takes the step {opcode.name}, as no array does.")
        # A pickle numbers what it remembers one after the other; a large number reserves memory.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(cast(int, argument)) > steps:
            raise AnnotationError(f"{name}: is damaged (it remembers number {argument}).")


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__(file, encoding="latin1")
        self._name = name

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        module = module_name.replace("numpy.core.", "numpy._core.")
        module = "pathlib" if module.startswith("pathlib.") else module
        made = _MAKERS.get((module, global_name))
        if made is None:
            raise AnnotationError(
                f"{self._name}: asks for {module_name}.{global_name}, as no file of arrays does; "
                "it was not read, for it could run a program."
            )
        return _Maker(made)


class _Maker:
    """Stands for a function in a pickle; new for each, so that none can be changed for the next."""

    __slots__ = ("_made",)

    def __init__(self, made: Callable[..., Any]) -> None:
        self._made = made

    def __call__(self, *arguments: Any) -> Any:
        return self._made(*arguments)


class _Type:
    """A numpy type in a pickle: its code, and the order of its bytes, which comes later."""

    def __init__(self, code: Any) -> None:
        self.code, self.is_swapped = code, False

    def __setstate__(self, state: Any) -> None:
        # What numpy writes of a plain type is its version, the order of its bytes, and nothings.
        if isinstance(state, tuple) and len(state) > 1:
            self.is_swapped = state[1] == (">" if sys.byteorder == "little" else "<")

    @property
    def dtype(self) -> np.dtype:
        if not isinstance(self.code, str) or len(self.code) > 12:
            raise ValueError("a numpy type that is no text")
        dtype = np.dtype(self.code)
        if dtype.names is not None or dtype.subdtype is not None or dtype.kind not in KINDS + "O":
            raise ValueError(f"numpy type {self.code!r}")
        return dtype.newbyteorder("S") if self.is_swapped else dtype


class _Array:
    """An array in a pickle, which is filled after it is made."""

    def __init__(self) -> None:
        self.value: Any = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, data = state
        if not isinstance(kind, _Type):
            raise ValueError("an array without a type")
        if kind.dtype.kind == "O":
            self.value = data
        else:
            self.value = _array_of(data, kind.dtype, shape, "F" if by_columns else "C")


def _array_of(data: Any, dtype: np.dtype, shape: Any, order: Any) -> np.ndarray:
    sizes = tuple(int(n) for n in shape)
    raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
    if len(raw) != prod(sizes) * dtype.itemsize or min(sizes, default=0) < 0:
        raise ValueError(f"{len(raw):,} bytes for an array of shape {sizes}")
    flat = np.frombuffer(raw, dtype)
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any = "C", *_: Any) -> np.ndarray:
    return _array_of(data, kind.dtype, shape, order)


def _dtype(code: Any, *_: Any) -> _Type:
    return _Type(code)


def _scalar(kind: Any, data: Any = b"") -> Any:
    return _array_of(data, kind.dtype, (), "C").item()


def _path(*parts: Any) -> str:
    return "/".join(str(part) for part in parts)


_MAKERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _reconstruct,
    ("numpy", "dtype"): _dtype,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("pathlib", "PosixPath"): _path,
    ("pathlib", "WindowsPath"): _path,
    ("pathlib", "PurePosixPath"): _path,
    ("pathlib", "PureWindowsPath"): _path,
}
