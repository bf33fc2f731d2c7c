import numba
import numpy as np
import pytest
from numba.core.registry import cpu_target

from stages.detector.integer import dot
from stages.detector.integer.dot import CLIPS, OUTPUTS, choose_dot, sum_products

HERE = set(cpu_target.target_context.codegen()._tm_features.split(","))


@pytest.mark.parametrize(
    ("kind", "lanes", "needed"),
    [
        (dot._dot_plain, 4, None),
        (dot._dot_pairs, 4, None),  # SSE2, which all have
        (dot._dot_pairs, 8, "+avx2"),
        (dot._dot_pairs, 16, "+avx512bw"),
        (dot._dot_vnni, 8, "+avx512vnni"),
        (dot._dot_vnni, 16, "+avx512vnni"),
    ],
)
def test_every_way_to_multiply_gives_the_exact_sums(monkeypatch, kind, lanes, needed):
    if needed and needed not in HERE:
        pytest.skip(f"this processor lacks {needed}")
    monkeypatch.setattr(dot, "choose_dot", lambda triple, features: (kind, lanes))

    def compute(sums, x, offsets, weights):
        sum_products(sums, x, 2, offsets, weights, 1)

    rng = np.random.default_rng(lanes)
    x = rng.integers(0, 256, (9, CLIPS, 4), dtype=np.uint8)
    x[4], x[7] = 255, 255  # two products of this and of the least weight exceed 16 bits
    offsets = np.array([0, 5, 2, 3])
    weights = rng.integers(-128, 128, (2, 4, OUTPUTS, 4), dtype=np.int8)
    weights[1, 1:3, :2] = [[[-128]], [[127]]]
    sums = np.empty((OUTPUTS, CLIPS), np.int32)
    numba.njit(compute)(
        sums, x.view(np.int32).ravel(), offsets * CLIPS, weights.view(np.int32)[..., 0]
    )
    expected = np.einsum("tkb,tob->ok", x[2 + offsets].astype(int), weights[1].astype(int))
    assert np.array_equal(sums, expected)


@pytest.mark.parametrize(
    ("triple", "features", "kind", "lanes"),
    [
        ("x86_64-linux", "", dot._dot_pairs, 4),
        ("x86_64-linux", "+avx,+avx2", dot._dot_pairs, 8),
        ("x86_64-linux", "+avx2,+avxvnni", dot._dot_vnni, 8),
        ("x86_64-linux", "+avx2,+avx512f,+avx512bw", dot._dot_pairs, 16),
        ("x86_64-linux", "+avx2,+avx512bw,+avx512vnni", dot._dot_vnni, 16),
        ("x86_64-linux", "+avx2,-avx512bw,-avx512vnni", dot._dot_pairs, 8),
        ("aarch64-linux", "+neon", dot._dot_plain, 4),
    ],
)
def test_the_widest_instructions_of_a_processor_are_chosen(triple, features, kind, lanes):
    assert choose_dot(triple, features) == (kind, lanes)
