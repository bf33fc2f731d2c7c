"""The model of a scan, as a file that every worker loads.

in       the model's name in the config, or a user's own module
out      the model; its path and digest
promise  every worker scores with the model that the scan started with
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.engine.storage.run_directory import Run, write_whole
from pipeline.passes.print_model import (
    PROCESS,
    PrintModel,
    make_process_model,
    read_print_model,
    write_print_model,
)
from stages.detector.models import checkpoint
from stages.detector.models.scan_model import ScanModel
from stages.errors import HotscanError, RunMismatchError, UsageError

USER_MODULE = "a module of the user"
"""Name of the model in the config if it was given as a module."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Path and digest of a model."""

    path: Path
    digest: str
    """Digest of everything that its scores depend on."""
    packed_sha256: str = ""
    """Digest of the file of a user's module; empty for a checkpoint."""


def find_model(name: str, given: ScanModel | None = None) -> ScanModel:
    """Return the model of a config.

    Raises
    ------
    UsageError
        There is no model of that name, or the scan used a module and none is given.
    """
    if given is not None:
        return given
    if name == USER_MODULE:
        raise UsageError(
            "this scan used a torch module of yours; give it again from Python: "
            "hotscan.open(run, model=hotscan.Model(...))"
        )
    if name.startswith(PROCESS):
        return make_process_model(name.removeprefix(PROCESS))
    if name.endswith(".json"):
        return read_print_model(Path(name))
    return checkpoint.load(checkpoint.find(name))


def recall_model(run: Run, name: str, digest: str, given: ScanModel | None = None) -> ScanModel:
    """Return the model that a run was scanned with: its own copy, or the one of that name.

    A shipped model may be another one by now, and a file may be gone.

    Raises
    ------
    UsageError
        As `find_model`.
    RunMismatchError
        When neither is the model of that digest.
    """
    for own in (checkpoint.FILE_NAME, PrintModel.file_name) if given is None else ():
        with suppress(HotscanError, OSError):
            return load_model(ModelFile(run.path / own, digest))
    model = find_model(name, given)
    if model.digest != digest:
        raise RunMismatchError(
            f"{run.path} was scanned with a model of digest {digest}, but its own copy of that "
            f"is not there or is damaged, and {name} is now {model.digest}; scan "
            "into a new run directory"
        )
    return model


def locate_model(run: Run, model: ScanModel) -> ModelFile:
    """Return the file of a scan's model."""
    return ModelFile(run.path / model.file_name, model.digest)


def store_model(run: Run, model: ScanModel, name: str) -> ModelFile:
    """Write the model of a scan into its run: for the workers, and for whoever opens it later.

    A file that `name` leads to is copied if it holds the model.
    """
    file = locate_model(run, model)
    if isinstance(model, PrintModel):
        write_print_model(file.path, model)
        return file
    if isinstance(model, checkpoint.Checkpoint):
        write_whole(file.path, _read_packed(name, model.digest) or checkpoint.pack(model))
        return file
    from stages.detector.models.user_model import UserModel, pack_model  # with torch

    assert isinstance(model, UserModel)  # there is no other kind
    content, sha256 = pack_model(model)
    write_whole(file.path, content)
    return replace(file, packed_sha256=sha256)


def _read_packed(name: str, digest: str) -> bytes | None:
    """Return the content of the checkpoint of that name, if it has this digest."""
    with suppress(HotscanError, OSError):
        path = checkpoint.find(name)
        content = path.read_bytes()
        return content if checkpoint.load(path).digest == digest else None
    return None


def load_model(file: ModelFile) -> ScanModel:
    """Load the model of a file.

    Raises
    ------
    RunMismatchError
        The file holds another model.
    """
    model: ScanModel
    if file.packed_sha256:
        from stages.detector.models.user_model import unpack_model

        model = unpack_model(file.path.read_bytes(), file.packed_sha256)
    elif file.path.suffix == ".json":
        model = read_print_model(file.path)
    else:
        model = checkpoint.load(file.path)
    if model.digest != file.digest:
        raise RunMismatchError(
            f"model {file.path} has digest {model.digest} here but the scan began with "
            f"{file.digest}; give every worker the same file"
        )
    return model
