"""Where recordings lie and datasets go: folders, and object stores by their URIs.

Credentials come from the environment of each process, as the store's own programs take them, and are in no `Location`.
What is written appears whole: a file by one rename, an object when its upload ends.
"""

from __future__ import annotations

import os
import posixpath
import re
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.common.durable import sync_file
from stream.common.errors import ExtraMissing, OptionError, OutputError, SourceNotFound, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_OBJECT = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://([^/?#]*)(/[^?#]*)?([?#].*)?", re.DOTALL)
_NO_STORES = frozenset({"http", "https", "igtl", "ray", "rtmp", "rtp", "rtsp", "rtsps", "srt", "tcp", "triton", "udp"})
"""Schemes of feeds and servers."""
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
PART_SUFFIX = ".part"
"""Of a file that is not whole; its name begins with a dot, so that readers of a dataset pass it over."""
_TRIES, _CONNECT_S, _REQUEST_S = 6, 10.0, 10.0
"""How often a store is asked, with growing pauses, and how long it may send nothing: in all about two minutes."""
_CHUNK_BYTES = 8 << 20
_UNREACHED = re.compile(r"curlCode|NETWORK_CONNECTION|timed? ?out", re.IGNORECASE)
"""In what a store's library says of a server that does not answer."""


def is_object_uri(text: str) -> bool:
    """Whether it names something in an object store: `s3://bucket/exams`, `gs://...`, `file:///...`."""
    match = _OBJECT.fullmatch(text)
    return match is not None and match[1].lower() not in _NO_STORES


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or object that was listed.

    Attributes:
        location: of it.
        size: in bytes.
        stamp: time of its last change, nanoseconds.
    """

    location: Location
    size: int
    stamp: int


@dataclass(frozen=True, slots=True)
class Location:
    """A folder, file, prefix or object.

    Attributes:
        store: `s3://bucket` and the like; empty for paths of this machine.
        path: below the store, without a slash before it; or the machine's absolute path.
    """

    store: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """A path, or a URI without credentials.

        Raises:
            OptionError: it holds credentials or options, or is empty.
        """
        if not text:
            raise OptionError("the path is empty; give a folder, or a URI such as s3://bucket/dataset")
        match = _OBJECT.fullmatch(text) if is_object_uri(text) else None
        if match is None:
            return cls("", str(Path(text).absolute()))
        scheme, host, path, more = match[1].lower(), match[2], match[3] or "", match[4]
        if "@" in host or more:
            raise OptionError(
                f"{scheme}://***: credentials and options do not belong into a URI; give them in the environment"
                " (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL ...)"
            )
        if scheme == "file":
            return cls("", posixpath.normpath(path or "/"))
        if not host:
            raise OptionError(f"{scheme}:// names no bucket; give {scheme}://bucket/path")
        return cls(f"{scheme}://{host}", path.strip("/"))

    def __str__(self) -> str:
        return f"{self.store}/{self.path}" if self.store else self.path

    def __truediv__(self, name: str) -> Location:
        return Location(self.store, posixpath.join(self.path, name) if self.path else name)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path)

    @property
    def is_local(self) -> bool:
        return not self.store

    def read(self) -> bytes | None:
        """Its bytes; None where there is nothing.

        Raises:
            SourceUnavailable: it cannot be read now.
        """
        with _told(self):
            try:
                with _system(self.store).open_input_stream(self._full) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def open(self) -> Any:
        """A file to read from, at any place of it, as pyarrow gives it.

        Raises:
            SourceUnavailable: it cannot be opened now.
        """
        with _told(self):
            return _system(self.store).open_input_file(self._full)

    def exists(self) -> bool:
        """Whether there is a file or object.

        Raises:
            SourceUnavailable: the store does not answer.
        """
        with _told(self):
            return bool(_system(self.store).get_file_info(self._full).is_file)

    def entries(self, *, below: bool = True) -> Iterator[Entry]:
        """The files in it, and in what is below it; of a file, itself; nothing where there is nothing.

        Raises:
            SourceUnavailable: it cannot be listed now.
        """
        from pyarrow import fs

        with _told(self):
            itself = _system(self.store).get_file_info(self._full)
            if itself.is_file:
                found = [itself]
            else:
                found = _system(self.store).get_file_info(
                    fs.FileSelector(self._full, allow_not_found=True, recursive=below)
                )
        for each in found:
            if each.is_file:
                path = each.path if self.is_local else each.path.lstrip("/").partition("/")[2]
                yield Entry(Location(self.store, path), each.size or 0, each.mtime_ns or 0)

    def fetch(self, target: Path) -> None:
        """Copies it into a file of this machine.

        Raises:
            SourceNotFound: it is gone.
            SourceUnavailable: the store does not answer.
            OutputError: the machine has no room for it.
        """
        with _told(self):
            try:
                stream = _system(self.store).open_input_stream(self._full)
            except FileNotFoundError as error:
                raise SourceNotFound(f"{self}: is gone; check the bucket") from error
            with stream, target.open("wb") as file:
                while chunk := stream.read(_CHUNK_BYTES):
                    try:
                        file.write(chunk)
                    except OSError as error:
                        raise OutputError(f"{target.parent}: no room for {self.name} ({error.strerror})") from error

    def put(self, data: bytes) -> None:
        """Writes it, or replaces it, whole.

        Raises:
            OutputError: it cannot be written; what was there is still there.
        """
        with _told(self, writes=True):
            if self.is_local:
                _rename_into(Path(self.path), data)
                return
            # No `with`: where a part cannot be sent, closing would publish those before it.
            stream = _system(self.store).open_output_stream(self._full)
            stream.write(data)
            stream.close()

    def remove(self) -> None:
        """Removes a file or object; one that is gone is no error.

        Raises:
            OutputError: it cannot be removed.
        """
        with _told(self, writes=True), suppress(FileNotFoundError):
            _system(self.store).delete_file(self._full)

    @property
    def _full(self) -> str:
        """As the file system takes it: with the bucket."""
        return self.path if self.is_local else f"{self.store.partition('://')[2]}/{self.path}".rstrip("/")


def _rename_into(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART_SUFFIX}")  # pids are alike on two nodes
    try:
        partial.write_bytes(data)
        sync_file(partial)
        os.replace(partial, path)
        sync_file(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def _told(location: Location, *, writes: bool = False) -> Iterator[None]:
    """Errors of a store's library in one line of ours, without anything secret."""
    try:
        yield
    except _OURS:
        raise
    except (OSError, ValueError) as error:
        said = without_secrets(" ".join(str(getattr(error, "strerror", None) or error).split()))[:300]
        permissions = "permissions" if location.is_local else "credentials and permissions"
        reach = "check that the store can be reached" if _UNREACHED.search(said) else ""
        if writes:
            mend = reach or f"check room and {permissions}"
            raise OutputError(f"{location}: cannot be written ({said}); {mend}") from None
        raise SourceUnavailable(f"{location}: cannot be read ({said}); {reach or f'check {permissions}'}") from None


_OURS = (OptionError, OutputError, SourceNotFound, SourceUnavailable, ExtraMissing)


def without_secrets(text: str) -> str:
    """A text of others without the credentials of the environment."""
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return text


@cache
def _system(store: str) -> Any:
    """The file system of a store, made once a process."""
    from pyarrow import fs

    scheme, _, host = store.partition("://")
    if not store:
        return fs.LocalFileSystem()
    if scheme == "s3":
        return _s3(host)
    try:
        return fs.FileSystem.from_uri(f"{store}/")[0]
    except (ValueError, OSError):
        pass  # not one of pyarrow's own
    try:
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except ImportError as error:
        raise ExtraMissing(f"{scheme}://: needs {error.name or 'fsspec'}, which is not installed") from error
    except ValueError as error:
        raise OptionError(f"{scheme}://: is no kind of store that is known here; give s3://, gs://, abfs://") from error


def _s3(bucket: str) -> Any:
    from pyarrow import fs

    environment = os.environ
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    scheme, _, address = endpoint.rstrip("/").rpartition("://") if endpoint else ("", "", None)
    if region is None and endpoint is None:
        with suppress(OSError):
            region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        region=region or "us-east-1",
        endpoint_override=address,
        scheme=scheme or "https",
        connect_timeout=_CONNECT_S,
        request_timeout=_REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
        allow_delayed_open=True,  # what is small is one request
    )
