"""What the compiled loops are made of: whole rows as vectors, arrays behind addresses, a search.

The compiler cannot know that two rows do not overlap, and would go through them number by number.
``row_operation`` says by its construction that all is read before anything is written. There is no
fused or reordered arithmetic anywhere: each number is what NumPy computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

ZERO, ONE = np.float32(0.0), np.float32(1.0)
TINY = np.float32(1e-9)
_FLOAT: Final = ir.FloatType()
_LONGEST_VECTOR: Final = 16  # numbers of one; longer rows are cut, the last parts are shorter
_FLOAT_BYTES: Final = 4

Expression = Callable[[ir.IRBuilder, Sequence[ir.Value], Sequence[ir.Value]], ir.Value]


@intrinsic
def pointer(_context: Any, address: Any) -> Any:
    """An address as ``numba.carray`` takes it."""

    def generate(_target: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@intrinsic
def fetch(_context: Any, address: Any) -> Any:
    """Ask for the memory at an address, which is needed soon: changes nothing but the time."""

    def generate(target: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        place = builder.inttoptr(values[0], cgutils.voidptr_t)
        to_read, keep, data = (ir.Constant(number, n) for n in (0, 3, 1))
        builder.call(function, [place, to_read, keep, data])
        return target.get_dummy_value()

    return types.void(address), generate


@intrinsic
def equal(_context: Any, one: Any, other: Any, n_bytes: Any) -> Any:
    """Whether the same bytes lie at two addresses."""

    def generate(_target: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        number = ir.IntType(32)
        kind = ir.FunctionType(number, [cgutils.voidptr_t, cgutils.voidptr_t, values[2].type])
        function = cgutils.get_or_insert_function(builder.module, kind, "memcmp")
        places = [builder.inttoptr(value, cgutils.voidptr_t) for value in values[:2]]
        result = builder.call(function, [*places, values[2]])
        return builder.icmp_signed("==", result, ir.Constant(number, 0))

    return types.boolean(one, other, n_bytes), generate


def row_operation(expression: Expression) -> Callable[..., None]:
    """A loop over the numbers of rows: ``operation(width, addresses, numbers)``.

    ``width`` is a tuple as long as the rows; its length is known when the loop is compiled. The
    result goes to the first of the addresses, which are of ``float32``; ``numbers`` are the same
    for the whole row.
    """

    @intrinsic
    def operation(_context: Any, width: Any, addresses: Any, numbers: Any) -> Any:
        def generate(_target: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
            bases = cgutils.unpack_tuple(builder, values[1])
            scalars = cgutils.unpack_tuple(builder, values[2])
            done = 0
            while done < len(width):
                n = 1 << min(len(width) - done, _LONGEST_VECTOR).bit_length() - 1
                vector = ir.VectorType(_FLOAT, n)
                places = [
                    builder.inttoptr(
                        builder.add(base, ir.Constant(base.type, done * _FLOAT_BYTES)),
                        vector.as_pointer(),
                    )
                    for base in bases
                ]
                loaded = []
                for place in places:
                    part = builder.load(place)
                    part.align = _FLOAT_BYTES
                    loaded.append(part)
                spread = [_spread(builder, scalar, n) for scalar in scalars]
                stored = builder.store(expression(builder, loaded, spread), places[0])
                stored.align = _FLOAT_BYTES
                done += n
            return _target.get_dummy_value()

        return types.void(width, addresses, numbers), generate

    result: Callable[..., None] = operation
    return result


def _spread(builder: ir.IRBuilder, scalar: ir.Value, n: int) -> ir.Value:
    vector = ir.Constant(ir.VectorType(_FLOAT, n), ir.Undefined)
    for i in range(n):
        vector = builder.insert_element(vector, scalar, ir.Constant(ir.IntType(32), i))
    return vector


# a x + b y
blend = row_operation(lambda b, x, s: b.fadd(b.fmul(x[0], s[0]), b.fmul(x[1], s[1])))
# (x + a y) b
finish = row_operation(lambda b, x, s: b.fmul(b.fadd(x[0], b.fmul(x[1], s[0])), s[1]))
# (a x + b y) c
mix = row_operation(lambda b, x, s: b.fmul(b.fadd(b.fmul(x[0], s[0]), b.fmul(x[1], s[1])), s[2]))
# x + a y
add_scaled = row_operation(lambda b, x, s: b.fadd(x[0], b.fmul(x[1], s[0])))
# a x
scale = row_operation(lambda b, x, s: b.fmul(x[0], s[0]))
# y, whatever x was
copy = row_operation(lambda _b, x, _s: x[1])


@njit(cache=True)
def place_of(rows: Any, start: int, length: int, item: int) -> int:
    """The slot of an item in an ascending segment, or -1."""
    low, n = start, length
    while n > 1:
        half = n >> 1
        # No branch: which way it goes cannot be foreseen.
        low += half if rows[low + half] <= item else 0
        n -= half
    if length > 0 and rows[low] == item:
        return low
    return -1
