"""The compiled kernel (dbp/network/native), loaded: its structures, its functions, and which instruction set it uses.

Every instruction set computes the same bits; the fastest one that the machine has is used. The environment variable
DBP_INSTRUCTIONS (portable, avx2 or avx512) asks for another.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dbp.errors import InputError

INSTRUCTION_SETS = ("portable", "avx2", "avx512")  # in the order of native/dispatch.c
PAD = 16  # as in native/lanes.h
FEATURES = 96  # as in native/products.h
LOSSES = 6  # as in native/losses.h
VARIABLE = "DBP_INSTRUCTIONS"

_LIBRARY = Path(os.environ.get("DBP_KERNEL") or Path(__file__).with_name("_kernel.so"))  # another one: `make sanitize`
_OTHER_VERSION = f"{_LIBRARY}: built from another version of dbp; install dbp again (`pip install -e .` in a clone)"


class Layer(ctypes.Structure):
    """`layer` of native/kernel.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("inputs", "outputs", "stride", "activation")),
        *((name, ctypes.c_void_p) for name in ("weights", "transposed", "bias", "output", "delta")),
    ]


class Known(ctypes.Structure):
    """`known` of native/kernel.c: what is known of some rows."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("targets", "classes", "weights")]


class Result(ctypes.Structure):
    """`result` of native/kernel.c."""

    _fields_ = [("loss", ctypes.c_double), ("squared_error", ctypes.c_double), ("correct", ctypes.c_int64)]


class Leaf(ctypes.Structure):
    """`leaf` of native/kernel.c: some rows in a tree of sums."""

    _fields_ = [
        *(("rows", ctypes.c_int64), ("inputs", ctypes.c_void_p)),
        *(("known", Known), ("additions", ctypes.c_int64)),
    ]


class Task(ctypes.Structure):
    """`task` of native/crew.c: take the parameters, then the sums over leaves."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("pack", "sums_of_tree", "network", "theta")),
        *(("count", ctypes.c_int64), ("leaves", ctypes.c_void_p), ("parameters", ctypes.c_int64)),
        *(("gradient", ctypes.c_void_p), ("found", ctypes.c_void_p)),
    ]


def network_structure(dtype: np.dtype[np.floating]) -> type[ctypes.Structure]:
    """Return `network` of native/kernel.c for a precision."""
    return _NETWORKS[np.dtype(dtype).name]


def _network(real: type) -> type[ctypes.Structure]:
    class _Network(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_int64) for name in ("layers", "loss", "block_rows")),
            ("layer", ctypes.POINTER(Layer)),
            *((name, ctypes.c_void_p) for name in ("strip", "panels", "targets", "sum_of_exp", "offset")),
            ("limit", real),
        ]

    return _Network


_NETWORKS = {"float32": _network(ctypes.c_float), "float64": _network(ctypes.c_double)}


@dataclass(frozen=True)
class Functions:
    """The kernel's functions for one precision; see native/kernel.c."""

    pack: Callable[..., None]
    sums: Callable[..., None]
    sums_of_tree: Callable[..., None]
    forward: Callable[..., None]
    loss: Callable[..., None]
    gauss_newton: Callable[..., None]
    solve: Callable[..., int]
    activate: Callable[..., None]
    multiply_derivative: Callable[..., None]
    dot: Callable[..., float]
    two_loops: Callable[..., None]
    places: dict[str, int]  # where `pack` and `sums_of_tree` are, for other functions to call


@cache
def functions(precision: str, instructions: str | None = None) -> Functions:
    """Return the functions for float32 or float64, for an instruction set or (None) the one in use."""
    suffix = f"{precision}_{instructions or instruction_set()}"
    whole, pointer = ctypes.c_int64, ctypes.c_void_p
    arguments = {
        "pack": [pointer, pointer],
        "sums": [pointer, whole, pointer, pointer, whole, pointer, pointer, pointer],
        "sums_of_tree": [pointer, whole, pointer, whole, pointer, pointer],
        "forward": [pointer, whole, pointer, pointer],
        "loss": [pointer, whole, pointer, pointer, pointer, pointer],
        "gauss_newton": [pointer, whole, pointer, pointer, whole, pointer, pointer, whole, pointer],
        "solve": [whole, pointer, pointer],
        "activate": [whole, whole, pointer],
        "multiply_derivative": [whole, whole, pointer, pointer],
        "dot": [whole, pointer, pointer],
        "two_loops": [whole, whole, *[pointer] * 7],
    }
    results = {"dot": ctypes.c_double, "solve": whole}
    found: dict[str, Any] = {}  # Any: ctypes has no type for a function
    _check_layout(precision, suffix)
    for name, types in arguments.items():
        function = getattr(_library(), f"dbp_{name}_{suffix}")
        function.argtypes, function.restype = types, results.get(name)
        found[name] = function
    places = {name: ctypes.cast(found[name], ctypes.c_void_p).value or 0 for name in ("pack", "sums_of_tree")}
    return Functions(**found, places=places)


def _check_layout(precision: str, suffix: str) -> None:
    """Raise InputError where the library was built from another version of native/: other sizes of structures, or losses."""
    sizes = (ctypes.c_int64 * 5)()
    getattr(_library(), f"dbp_layout_{suffix}")(sizes)
    here = [ctypes.sizeof(kind) for kind in (_NETWORKS[precision], Layer, Known, Result, Leaf)]
    losses = getattr(_library(), f"dbp_losses_{suffix}", None)
    if list(sizes) != here or losses is None or losses() != LOSSES:
        raise InputError(_OTHER_VERSION)


@dataclass(frozen=True)
class CrewFunctions:
    """The functions of native/crew.c."""

    begin: Callable[[int], int | None]
    run: Callable[..., None]
    end: Callable[[int], None]
    carry_out: Callable[..., None]


@cache
def crew_functions() -> CrewFunctions:
    """Return the functions of threads; InputError for a library of another version."""
    whole, pointer = ctypes.c_int64, ctypes.c_void_p
    library = _library()
    try:
        layout = library.dbp_crew_layout
    except AttributeError:
        raise InputError(_OTHER_VERSION) from None
    layout.restype = whole
    if layout() != ctypes.sizeof(Task):
        raise InputError(_OTHER_VERSION)
    library.dbp_crew_begin.argtypes, library.dbp_crew_begin.restype = [whole], pointer
    library.dbp_crew_run.argtypes, library.dbp_crew_run.restype = [pointer, whole, pointer], None
    library.dbp_crew_end.argtypes, library.dbp_crew_end.restype = [pointer], None
    library.dbp_carry_out.argtypes, library.dbp_carry_out.restype = [pointer], None
    return CrewFunctions(
        begin=library.dbp_crew_begin,
        run=library.dbp_crew_run,
        end=library.dbp_crew_end,
        carry_out=library.dbp_carry_out,
    )


@cache
def digest_function() -> Callable[[int, int | None], int]:
    """Return `dbp_digest` of native/digest.c: number of bytes, their address -> 64 bits. InputError for an older library."""
    try:
        function = _library().dbp_digest
    except AttributeError:
        raise InputError(_OTHER_VERSION) from None
    function.argtypes, function.restype = [ctypes.c_int64, ctypes.c_void_p], ctypes.c_uint64
    found: Callable[[int, int | None], int] = function
    return found


@cache
def instruction_set() -> str:
    """Return the instruction set in use. InputError if DBP_INSTRUCTIONS asks for one that the machine does not have."""
    best = _library().dbp_instructions()
    asked = os.environ.get(VARIABLE) or INSTRUCTION_SETS[best]
    available = INSTRUCTION_SETS[: best + 1]
    if asked not in available:
        raise InputError(f"{VARIABLE}={asked!r}; expected one that this machine has: {', '.join(available)}")
    return asked


@cache
def _library() -> ctypes.CDLL:
    if not _LIBRARY.exists():
        raise InputError(
            f"{_LIBRARY}: the compiled kernel is missing; install dbp with pip (`pip install -e .` in a clone), which builds it"
        )
    return ctypes.CDLL(str(_LIBRARY))


def zeros(shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """Return zeros at an address that is a multiple of 64 bytes: no vector straddles two cache lines."""
    size = int(np.prod(shape))
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(size + 64 // itemsize, dtype)
    skipped = (-memory.ctypes.data % 64) // itemsize
    return memory[skipped : skipped + size].reshape(shape)


def address(array: NDArray[np.generic] | None) -> int | None:
    """Return where a contiguous array begins, for the kernel to read or write; None for None."""
    if array is None:
        return None
    if array.flags.writeable and array.size and array.flags.c_contiguous:  # a fifth of the time of the other way
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    place: int = array.__array_interface__["data"][0]  # quicker than array.ctypes.data
    return place
