"""A checkpoint claims what it likes; what is read of it is bounded by its bytes."""

from __future__ import annotations

import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.detector.models import archive, checkpoint
from stages.detector.models.archive import read_archive
from stages.errors import UsageError
from tests.stages.detector.models.test_checkpoint import small_checkpoint

Content = dict[str, bytes]
Forge = Callable[[Content], None]
CONTENT = {
    "text": "ä", "list": [1, (2.5, None)], "w": torch.arange(12.0).view(3, 4),
    "half": torch.ones(2, dtype=torch.float16), "none": torch.empty(0, 3),
    "flag": torch.tensor(True),
    "column": torch.arange(6).view(3, 2)[:, :1].contiguous(),
}  # fmt: skip


def test_what_torch_saves_is_read(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "a.pt")
    content = read_archive(tmp_path / "a.pt")
    assert content.keys() == CONTENT.keys()
    for name, value in CONTENT.items():
        if isinstance(value, torch.Tensor):
            assert content[name].dtype == value.numpy().dtype
            assert np.array_equal(content[name], value.numpy())
        else:
            assert content[name] == value


def forge(path: Path, change: Forge, saved: Any = CONTENT, kind: int = zipfile.ZIP_STORED) -> None:
    """Write an archive with changed entries."""
    torch.save(saved, path)
    with zipfile.ZipFile(path) as whole:
        entries = {name: whole.read(name) for name in whole.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w", kind) as out:
        for name, content in entries.items():
            out.writestr(name, content)


def replace_pickle(old: bytes, new: bytes) -> Forge:
    def change(entries: Content) -> None:
        name = next(name for name in entries if name.endswith("data.pkl"))
        assert old in entries[name]
        entries[name] = entries[name].replace(old, new, 1)

    return change


def put_pickle(content: bytes) -> Forge:
    def change(entries: Content) -> None:
        entries[next(name for name in entries if name.endswith("data.pkl"))] = content

    return change


def drop_storage(entries: Content) -> None:
    del entries[next(name for name in entries if name.endswith("data/0"))]


BIG = b"\x8a\x06" + (10**12).to_bytes(6, "little")  # 10**12 as the pickle of an int
LARGE_BYTEARRAY = b"\x80\x02cbuiltins\nbytearray\n" + BIG + b"\x85R."
LARGE_INDEX = b"\x80\x02]r\xff\xff\xff\x0f."  # an index of 2**28 in the memory of the unpickler
HUGE = [
    (replace_pickle(b"K\x03K\x04\x86", BIG + BIG + b"\x86"), "not within its 12 elements"),
    (replace_pickle(b"K\x04K\x01\x86", b"K\x00K\x00\x86"), "has strides"),
    (replace_pickle(b"K\x0ctq", BIG + b"tq"), "has 48 bytes, not 1000000000000 of"),
    (replace_pickle(b"FloatStorage", b"FancyStorage"), "names torch.FancyStorage"),
    (replace_pickle(b"_rebuild_tensor_v2", b"_rebuild_sparse_te"), "names torch._utils._rebuild_s"),
    (put_pickle(LARGE_BYTEARRAY), "names builtins.bytearray"),
    (put_pickle(pickle.dumps(print)), "names builtins.print"),
    (put_pickle(b""), "EOFError|Ran out|no load"),
    (put_pickle(b"\x80\x02Q."), "."),
    (drop_storage, "There is no item named"),
    (lambda entries: entries.update({"other/data.pkl": b"N."}), "2 entries data.pkl"),
    (lambda entries: entries.clear(), "0 entries data.pkl"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), HUGE)
def test_what_is_not_there_is_not_made(change: Forge, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    forge(path, change, {"w": CONTENT["w"]})
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            read_archive(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
    with pytest.raises(UsageError, match=r"a\.pt' cannot be read as a checkpoint"):
        checkpoint.load(path)


def test_an_index_in_the_pickle_allocates_nothing(tmp_path: Path) -> None:
    forge(tmp_path / "a.pt", put_pickle(LARGE_INDEX))
    tracemalloc.start()
    assert read_archive(tmp_path / "a.pt") == []
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    forge(path, lambda entries: None, {"w": torch.zeros(1 << 20)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 14
    with pytest.raises(ValueError, match="is compressed"):
        read_archive(path)


def test_one_storage_for_many_tensors_is_refused(tmp_path: Path) -> None:
    shared = torch.zeros(1000)
    torch.save([shared, shared.view(10, 100)], tmp_path / "a.pt")
    with pytest.raises(ValueError, match="more bytes than the file"):
        read_archive(tmp_path / "a.pt")


def test_a_file_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(CONTENT, tmp_path / "a.pt")
    monkeypatch.setattr(archive, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="the limit is 100"):
        read_archive(tmp_path / "a.pt")


def resave(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Save a checkpoint with other settings or weights, and the digest of these."""
    import json

    content = checkpoint._content(small_checkpoint())
    about = json.loads(content["about"])
    change(about, content)
    content["about"] = json.dumps(about)
    torch.save(checkpoint._to_tensors(content | {"digest": checkpoint._digest(content)}), path)


ODD = [
    (lambda about, content: about.pop("raster"), "raster"),
    (lambda about, content: about.update(layers=7), "layers is 7"),
    (lambda about, content: about["config"].update(stem=10**7), "weight .* but its settings ask"),
    (lambda about, content: about["config"].update(stem="8"), "damaged"),
    (lambda about, content: about["config"].update(colour=1), "colour"),
    (lambda about, content: about["raster"].update(clip_px=2 * 10**9, core_px=2), "the limit is"),
    (lambda about, content: about["operating_point"].update(threshold=7), "threshold is 7"),
    (lambda about, content: about.update(rules={"members": 10**9}), "1000000000 members"),
    (lambda about, content: about.update(detector="oracle"), "detector 'oracle' is unknown"),
    (lambda about, content: content["weights"].popitem(), "None"),
    (lambda about, content: content["weights"].update(more=np.zeros(1)), "weight more"),
    (lambda about, content: content.update(examples=np.zeros((1, 1, 8, 8))), "examples are"),
    (lambda about, content: content["weights"].update({"verdict.bias": np.array([np.nan])}),
     "not finite"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), ODD)
def test_settings_and_weights_that_do_not_go_together(
    change: Callable[[dict[str, Any], dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    resave(tmp_path / "a.pt", change)
    with pytest.raises(UsageError, match=message):
        checkpoint.load(tmp_path / "a.pt")
