"""A user's own module: its identity, its output, its way to other processes."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.contracts import RasterSpec
from stages.detector.models.user_model import UserModel, pack_model, unpack_model
from stages.errors import ModelMismatchError, RunMismatchError, UsageError
from stages.scores import build_scorer, score_rasters

RASTER = RasterSpec(pixel_nm=40.0, clip_px=32, core_px=16)


class Ink(nn.Module):
    """Log odds by the mean of the picture."""

    def __init__(self, gain: float = 2.0, power: int = 1) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.power = power

    def forward(self, x: Tensor) -> Any:
        return self.gain * x.mean((1, 2, 3)) ** self.power


class Column(Ink):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)[:, None]


class Pair(Ink):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x.mean((1, 2))


class Stateful(Ink):
    """Differs between training and evaluation."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + (9.0 if self.training else 0.0)


def wrap(module: nn.Module, **changed: Any) -> UserModel:
    return UserModel(**{
        "module": module, "raster": RASTER, "process": "krf130", "threshold": 0.5, **changed
    })  # fmt: skip


def rasters(n: int = 5) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 1, 32, 32)).astype(np.uint8)


@pytest.mark.parametrize("kind", [Ink, Column, Pair, Stateful])
def test_scores_are_those_of_the_module(kind: type[Ink]) -> None:
    scores = score_rasters(rasters(), build_scorer(wrap(kind())))
    ink = rasters().mean((1, 2, 3)) / 255
    np.testing.assert_allclose(scores.score, 1 / (1 + np.exp(-2 * ink)), atol=1e-6)
    assert scores.embedding.shape == (5, 32 if kind is Pair else 1)
    np.testing.assert_allclose(np.linalg.norm(scores.embedding.astype(float), axis=1), 1, atol=1e-2)


def test_the_digest_tells_what_scores_depend_on() -> None:
    model = wrap(Ink())
    assert len(model.digest) == 64
    assert model.digest == wrap(Ink()).digest
    others = [
        wrap(Ink(gain=2.5)),
        wrap(Ink(power=2)),  # no weight
        wrap(Column()),  # the same weights, another source
        wrap(nn.Sequential(Ink())),
        wrap(Ink(), process="arfi45"),
        wrap(Ink(), opc="model"),
        wrap(Ink(), raster=replace(RASTER, pixel_nm=30.0)),
    ]
    assert len({model.digest, *(other.digest for other in others)}) == len(others) + 1
    assert wrap(Ink(), threshold=0.25).digest == model.digest  # a scan may be scored again with it


def test_source_that_cannot_be_read_is_compared_as_code() -> None:
    def define(body: str) -> UserModel:
        names: dict[str, Any] = {"nn": nn}
        exec(f"class Typed(nn.Module):\n    def forward(self, x): return {body}", names)
        return wrap(names["Typed"]())

    bodies = (
        "x.mean((1, 2, 3))",
        "x.mean((1, 2, 3)) + 1",
        "x.amax((1, 2, 3))",
        "x.mean((1, 2, 3))",
    )
    digests = [define(body).digest for body in bodies]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (lambda x: x, r"\[\(2, 1, 32, 32\)\]"),
        (lambda x: None, r"\['NoneType'\]"),
        (lambda x: (x.mean((1, 2, 3)), x), r"\[\(2,\), \(2, 1, 32, 32\)\]"),
        (lambda x: x.mean(), r"\[\(\)\]"),
    ],
)
def test_another_output_is_refused(output: Callable[[Tensor], Any], shown: str) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return output(x)

    with pytest.raises(ModelMismatchError, match=rf"returned {shown} for 2 clips; return logits"):
        wrap(Odd())


def test_what_cannot_score_is_refused() -> None:
    with pytest.raises(UsageError, match="model 'Ink' has a weight in gain that is not finite"):
        wrap(Ink(gain=float("nan")))
    with pytest.raises(UsageError, match="threshold is 7; give a probability"):
        wrap(Ink(), threshold=7)


def test_a_packed_model_is_the_same() -> None:
    model = wrap(Pair(gain=3.0))
    again = unpack_model(*pack_model(model))
    assert again.digest == model.digest
    ours, theirs = (score_rasters(rasters(), build_scorer(one)) for one in (model, again))
    np.testing.assert_array_equal(ours.score, theirs.score)


def test_a_worker_need_not_import_the_users_script(tmp_path: Path) -> None:
    (tmp_path / "users_script.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x): return x.mean((1, 2, 3))\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        from users_script import Net  # type: ignore[import-not-found]

        model = wrap(Net())
        content, sha256 = pack_model(model)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("users_script", None)
    (tmp_path / "packed").write_bytes(content)
    program = (
        "import sys; from pathlib import Path\n"
        "from stages.detector.models.user_model import unpack_model\n"
        "model = unpack_model(Path(sys.argv[1]).read_bytes(), sys.argv[2])\n"
        "print(type(model.module).__name__, model.process)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "packed"), sha256],
        capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[4],
    )  # fmt: skip
    assert ended.stdout.split() == ["Net", "krf130"]


class Payload:
    """Raises when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise AssertionError('executed')",))


def test_bytes_of_another_session_are_never_unpickled() -> None:
    content = pickle.dumps(Payload())
    with pytest.raises(AssertionError, match="executed"):
        unpack_model(content, hashlib.sha256(content).hexdigest())
    _, sha256 = pack_model(wrap(Ink()))
    with pytest.raises(RunMismatchError, match=f"but this session wrote {sha256}; it was not"):
        unpack_model(content, sha256)
