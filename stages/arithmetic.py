"""What computes: floating-point results differ in the last digits between processors.

in: the results of a fixed computation, made here · out: `Arithmetic`
promise: processes with equal fingerprints computed the same bits; names are for people only
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from stages.contracts import Bytes

LIMITING = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR")
"""Variables of the environment that choose the instructions of torch and its libraries."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The floating-point arithmetic of a process.

    Examples
    --------
    >>> here = Arithmetic("5f1c", "torch 2.8 on x86_64 AVX512")
    >>> here == Arithmetic("5f1c", "torch 2.9 on x86_64 AVX512")  # the same bits
    True
    >>> Arithmetic.parse(str(here)).name
    'torch 2.8 on x86_64 AVX512'
    """

    fingerprint: str
    """Digest of the results of a fixed computation, 16 hexadecimal digits."""
    name: str = field(compare=False)
    """Library, processor and instructions."""

    def __str__(self) -> str:
        return f"{self.fingerprint} {self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str` gave."""
        fingerprint, _, name = text.partition(" ")
        return cls(fingerprint, name)


def measure_arithmetic(
    results: Iterable[npt.NDArray[Any]], device: str = "cpu", name: str = ""
) -> Arithmetic:
    """Return the arithmetic of this process.

    Parameters
    ----------
    results
        All that a fixed computation gave here, on `device`.
    name
        What computed it; torch, if not given.
    """
    digest = hashlib.blake2b(digest_size=8)
    for result in results:
        digest.update(f"{result.dtype} {result.shape}".encode() + result.tobytes())
    return Arithmetic(digest.hexdigest(), name or describe_arithmetic(device))


def make_noise(shape: tuple[int, ...]) -> Bytes:
    """Return fixed random bytes to compute with: the same in every version of NumPy."""
    noise = np.random.RandomState(0).bytes(int(np.prod(shape)))
    return np.frombuffer(noise, np.uint8).reshape(shape).copy()


@cache
def describe_arithmetic(device: str) -> str:
    """Name what computes with torch on a device in this process."""
    import torch  # takes seconds; a driver only reads what workers measured

    if device.startswith("cuda"):
        card, cudnn = torch.cuda.get_device_name(device), torch.backends.cudnn
        version = cudnn.version()  # type: ignore[no-untyped-call]
        return f"torch {torch.__version__} on {card}, cuDNN {version}"
    limits = [f"{name}={os.environ[name]}" for name in LIMITING if name in os.environ]
    capability = torch.backends.cpu.get_cpu_capability()
    parts = [f"{platform.machine()} {capability}", _name_processor(), *limits]
    return f"torch {torch.__version__} on {', '.join(part for part in parts if part)}"


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")
