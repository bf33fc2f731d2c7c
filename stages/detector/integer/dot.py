"""Sums of products of bytes, by the instructions that the processor has for them.

in: features (unsigned bytes) and weights (signed bytes), four channels to a 32-bit word
out: 32-bit sums, of `CLIPS` clips side by side
promise: the sums are exact, hence the same whatever instructions compute them
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

CLIPS = 64
"""Clips computed side by side: the lanes of all kernels."""
OUTPUTS = 4
"""Channels computed side by side: as many as a word has bytes."""

_BYTE, _WORD, _INDEX = ir.IntType(8), ir.IntType(32), ir.IntType(64)

Dot = Callable[[ir.IRBuilder, ir.Value, ir.Value, ir.Value], ir.Value]
"""Emits: sums (lanes words), features (lanes words), a weight in each lane to the new sums."""


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *values: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


def _dot_vnni(builder: ir.IRBuilder, sums: ir.Value, x: ir.Value, w: ir.Value) -> ir.Value:
    """Multiply and add four bytes a lane by one instruction, of AVX-512 VNNI or AVX-VNNI."""
    bits = 32 * sums.type.count
    return _call(builder, f"llvm.x86.avx512.vpdpbusd.{bits}", sums.type, sums, x, w)


def _dot_pairs(builder: ir.IRBuilder, sums: ir.Value, x: ir.Value, w: ir.Value) -> ir.Value:
    """Multiply and add two 16-bit numbers a lane by one instruction, for even and odd bytes."""
    lanes = sums.type.count
    name = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}[lanes]
    halves = ir.VectorType(ir.IntType(16), 2 * lanes)
    x, w = builder.bitcast(x, halves), builder.bitcast(w, halves)
    eight = ir.Constant(halves, [8] * 2 * lanes)
    even = builder.and_(x, ir.Constant(halves, [255] * 2 * lanes))
    odd = builder.lshr(x, eight)
    for part, weight in (
        (even, builder.ashr(builder.shl(w, eight), eight)), (odd, builder.ashr(w, eight))
    ):  # fmt: skip
        sums = builder.add(sums, _call(builder, f"llvm.x86.{name}", sums.type, part, weight))
    return sums


def _dot_plain(builder: ir.IRBuilder, sums: ir.Value, x: ir.Value, w: ir.Value) -> ir.Value:
    """Multiply and add byte by byte, on any processor."""
    for byte in range(4):
        shift, last, top = (
            ir.Constant(sums.type, [bits] * sums.type.count) for bits in (8 * byte, 255, 24)
        )
        part = builder.and_(builder.lshr(x, shift), last)
        left = ir.Constant(sums.type, [24 - 8 * byte] * sums.type.count)
        weight = builder.ashr(builder.shl(w, left), top)
        sums = builder.add(sums, builder.mul(part, weight))
    return sums


def choose_dot(triple: str, features: str) -> tuple[Dot, int]:
    """Return what multiplies on a processor, and its lanes.

    Parameters
    ----------
    features
        What the compiler may use, as LLVM names it: ``+avx2,-avx512f,...``.

    Examples
    --------
    >>> choose_dot("x86_64-linux", "+avx2,+avx512bw,+avx512vnni")[1], choose_dot("arm64", "")[1]
    (16, 4)
    """
    has = set(features.split(","))
    if not triple.startswith("x86_64"):
        return _dot_plain, 4
    if {"+avx512vnni", "+avx512bw"} <= has:
        return _dot_vnni, 16
    if "+avxvnni" in has:
        return _dot_vnni, 8
    if "+avx512bw" in has:
        return _dot_pairs, 16
    return _dot_pairs, 8 if "+avx2" in has else 4


def _emit_sums(builder: ir.IRBuilder, dot: Dot, lanes: int, pointers: list[ir.Value]) -> None:
    """Emit the loops over clips and taps; the sums of some clips stay in registers."""
    sums, x, offsets, taps, weights = pointers
    vector = ir.VectorType(_WORD, lanes)
    at_once = min(CLIPS // lanes, 4 if lanes == 16 else 2)  # of 32 or 16 registers
    zero = ir.Constant(vector, None)
    held = [[cgutils.alloca_once(builder, vector) for _ in range(at_once)] for _ in range(OUTPUTS)]
    with cgutils.for_range(builder, _INDEX(CLIPS // (at_once * lanes)), intp=_INDEX) as part:
        first = builder.mul(part.index, _INDEX(at_once * lanes))
        for slot in (slot for row in held for slot in row):
            builder.store(zero, slot)
        with cgutils.for_range(builder, taps, intp=_INDEX) as loop:
            base = builder.add(builder.load(builder.gep(offsets, [loop.index])), first)
            seen = [
                builder.load(_point(builder, x, base, lanes * each, vector), align=4)
                for each in range(at_once)
            ]
            for output, row in enumerate(held):
                at = builder.add(builder.mul(loop.index, _INDEX(OUTPUTS)), _INDEX(output))
                weight = _spread(builder, builder.load(builder.gep(weights, [at])), vector)
                for slot, features in zip(row, seen, strict=True):
                    builder.store(dot(builder, builder.load(slot), features, weight), slot)
        for output, row in enumerate(held):
            for each, slot in enumerate(row):
                target = _point(builder, sums, first, output * CLIPS + lanes * each, vector)
                builder.store(builder.load(slot), target, align=4)


def _point(
    builder: ir.IRBuilder, base: ir.Value, first: ir.Value, more: int, vector: ir.VectorType
) -> ir.Value:
    """Return the address of a vector, `first` and `more` words from `base`."""
    at = builder.gep(base, [builder.add(first, _INDEX(more))])
    return builder.bitcast(at, vector.as_pointer())


def _spread(builder: ir.IRBuilder, value: ir.Value, vector: ir.VectorType) -> ir.Value:
    unset = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(unset, value, _WORD(0))
    return builder.shuffle_vector(
        first, unset, ir.Constant(ir.VectorType(_WORD, vector.count), None)
    )


@intrinsic  # type: ignore[untyped-decorator]
def sum_products(
    typing: Any, sums: Any, features: Any, place: Any, offsets: Any, weights: Any, row: Any
) -> Any:
    """Fill `sums` (`OUTPUTS`, `CLIPS`) with those over ``offsets`` at a place, for all clips.

    Of int32 arrays: ``sums[o, clip]`` becomes the sum over taps ``t`` and the four bytes of
    ``features[(place + offsets[t]) * CLIPS + clip] * weights[row, t, o]``.
    """
    found = types.void(sums, features, types.int64, offsets, weights, types.int64)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        kinds = signature.args
        arrays = {
            at: context.make_array(kinds[at])(context, builder, args[at]) for at in (0, 1, 3, 4)
        }
        taps = builder.extract_value(arrays[3].shape, 0)
        lanes = _INDEX(CLIPS)
        x = builder.gep(arrays[1].data, [builder.mul(args[2], lanes)])
        first = builder.mul(args[5], builder.mul(taps, _INDEX(OUTPUTS)))
        weights_at = builder.gep(arrays[4].data, [first])
        code = context.codegen()
        dot, width = choose_dot(code._llvm_module.triple, code._tm_features)
        pointers = [arrays[0].data, x, arrays[3].data, taps, weights_at]
        _emit_sums(builder, dot, width, pointers)
        return context.get_dummy_value()

    return found, codegen
