from __future__ import annotations

import numpy as np

from stages.arithmetic import Arithmetic, make_noise, measure_arithmetic


def test_one_bit_of_one_result_gives_another_fingerprint() -> None:
    results = [np.linspace(0, 1, 64, dtype=np.float32), np.ones(3, np.float16)]
    before = measure_arithmetic(results)
    assert measure_arithmetic([result.copy() for result in results]) == before
    results[0][5] = np.nextafter(results[0][5], np.float32(1))
    assert measure_arithmetic(results) != before


def test_the_name_says_what_computes() -> None:
    name = measure_arithmetic([]).name
    assert name.startswith("torch ")
    assert Arithmetic.parse(str(Arithmetic("5f1c", name))).name == name


def test_noise_is_the_same_everywhere() -> None:
    """Else machines that compute the same would not seem to."""
    assert make_noise((2, 4)).tolist() == [[172, 10, 127, 140], [47, 170, 196, 151]]
