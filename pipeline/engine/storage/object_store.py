"""A folder in an object store, like S3: files go up and come down, whole, by their names.

in       an address, like s3://bucket/run, and names of files of a folder on this machine
out      the same names and bytes there; what it took, as `Traffic`
promise  whatever a store refuses becomes an error that names the address
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from pipeline.engine.storage.checksums import require_inside
from pipeline.engine.storage.run_directory import write_whole
from stages.errors import HotscanError, IncompleteError, UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
"""Kinds of address; credentials and endpoint are those of the environment."""
RETRY_S = 20.0
"""How long a request that fails is tried again, in seconds."""
AT_ONCE = 8
"""Requests under way: each waits for the network far longer than for a processor."""


@dataclass(slots=True)
class Traffic:
    """Requests and bytes of one process."""

    requests: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def count(self, up: int = 0, down: int = 0) -> None:
        """Count a request and its bytes; several threads do."""
        with self._lock:
            self.requests += 1
            self.bytes_up += up
            self.bytes_down += down


def is_address(text: str) -> bool:
    """Return whether a text names a place in an object store.

    Examples
    --------
    >>> is_address("s3://bucket/run"), is_address("runs/s3")
    (True, False)
    """
    return text.partition("://")[0] in SCHEMES and "://" in text


@dataclass(slots=True)
class Store:
    """A folder in an object store."""

    address: str
    traffic: Traffic = field(default_factory=Traffic)
    _client: ObjectStore | None = None

    def put(self, folder: Path, names: Sequence[str]) -> dict[str, str]:
        """Copy files of a folder to the store; return the tag of each name's content."""
        return self._for_each(
            names, lambda name: self.put_bytes(name, (folder / name).read_bytes())
        )

    def fetch(self, folder: Path, names: Sequence[str]) -> None:
        """Copy files of the store to a folder; each appears whole.

        Raises
        ------
        IncompleteError
            A name leads out of the folder: whoever may write the store may name anything.
        """

        def fetch_file(name: str) -> None:
            with self._explain(name):
                require_inside(folder, name)
            write_whole(folder / name, self.get_bytes(name))

        self._for_each(names, fetch_file)

    def put_bytes(self, name: str, content: bytes, mode: Any = None) -> str:
        """Write one object; return the tag of its content.

        Parameters
        ----------
        mode
            Of obstore: ``"create"``, or the tag that the object must have.

        Raises
        ------
        FileExistsError
            There is one, or one of another tag.
        """
        import obstore

        with self._explain(name):
            options = {} if mode is None else {"mode": mode}
            result = obstore.put(self._open(), name, content, **options)
        self.traffic.count(up=len(content))
        return str(result["e_tag"])

    def get_bytes(self, name: str) -> bytes:
        """Read one object.

        Raises
        ------
        FileNotFoundError
            There is none of that name.
        """
        import obstore

        content = b""
        try:
            with self._explain(name):
                content = obstore.get(self._open(), name).bytes().to_bytes()
        finally:
            self.traffic.count(down=len(content))
        return content

    def list_tags(self) -> dict[str, str]:
        """Return the names of all objects, and the tag of each content."""
        import obstore

        found: dict[str, str] = {}
        with self._explain(""):
            for page in obstore.list(self._open()):
                self.traffic.count()
                found |= {one["path"]: str(one["e_tag"]) for one in page}
        return found

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        import obstore

        def remove(name: str) -> None:
            self.traffic.count()
            with self._explain(name):
                obstore.delete(self._open(), name)

        self._for_each(list(names), remove)

    def read_json(self, name: str) -> Any:
        """Read an object of JSON."""
        return json.loads(self.get_bytes(name))

    def _for_each(self, names: Sequence[str], work: Callable[[str], Any]) -> dict[str, Any]:
        self._open()  # once, before the threads
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(names, pool.map(work, names), strict=True))

    def _open(self) -> ObjectStore:
        if self._client is None:
            try:
                from obstore.store import from_url
            except ImportError as error:
                raise UsageError(
                    f"{self.address} is in an object store, for which obstore is not installed; "
                    "install it: pip install 'hotscan[s3]'"
                ) from error
            retry: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=RETRY_S)}
            with self._explain(""):
                self._client = from_url(self.address, retry_config=retry)
        return self._client

    @contextmanager
    def _explain(self, name: str) -> Iterator[None]:
        """Say which address a store refused; a missing object has an error of its own."""
        try:
            yield
        except HotscanError:
            raise
        except Exception as error:  # obstore's errors have a root of their own
            reason, kind = str(error).partition("\n")[0], type(error).__name__
            if kind in ("AlreadyExistsError", "PreconditionError"):
                raise FileExistsError(f"{self.address}/{name}") from error
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
                raise FileNotFoundError(f"{self.address}/{name}") from error
            raise IncompleteError(
                f"{self.address}/{name} cannot be reached ({kind}: {reason}); see "
                "to bucket, endpoint and credentials of the environment, then run it again"
            ) from error
