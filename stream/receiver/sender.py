"""The storage SCU: sends objects to an archive, and asks it to commit to them where it offers that."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.common.errors import StreamError
from stream.receiver.associations import import_pynetdicom
from stream.receiver.server import COMMITMENT, IDLE_S, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream.receiver.peers import Peer

IMPLICIT = "1.2.840.10008.1.2"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known instance of the Storage Commitment Push Model."""
REQUEST_COMMITMENT = 1
STORED = frozenset({SUCCESS, 0xB000, 0xB006, 0xB007, 0x0111})
"""Statuses by which an object is there: success, stored with a remark, there already."""


class SendError(StreamError, ConnectionError):
    """An archive did not take what it was sent."""


class ArchiveAway(SendError):
    """No association with an archive came about, or it ended before its time: it will take nothing else either."""


@dataclass(slots=True)
class Sent:
    """What became of objects that were sent.

    Attributes:
        stored: what the archive has.
        error: why it has not all, in one line: of the first that it did not take; empty where it has.
        transaction: of the commitment that was asked for; empty where the archive offers none.
    """

    stored: list[Path] = field(default_factory=list)
    error: str = ""
    transaction: str = ""


def send(
    files: Sequence[Path],
    *,
    title: str,
    to: Peer,
    is_asked_to_commit: Sequence[Path] = (),
    committed: Callable[[Any], None] = lambda report: None,
    opened: Callable[[Any], None] = lambda association: None,
    is_probed: bool = True,
) -> Sent:
    """Sends files over one association.

    Args:
        files: DICOM files.
        title: our own AE title.
        to: the archive.
        is_asked_to_commit: files that it is asked to commit to once it has `files`, those among them.
        committed: called with a report on a commitment that comes over the same association.
        opened: called with the association as soon as there is one, so that it can be ended from elsewhere.
        is_probed: tries a connection before, which says why there is none; of an archive that was there a moment ago
            another connection would be one too many.

    Raises:
        ExtraMissing: pynetdicom is not installed.
        ArchiveAway: no association came about.
    """
    net = import_pynetdicom()
    import pydicom

    tags: list[Any] = ["SOPClassUID", "SOPInstanceUID"]
    heads = {file: pydicom.dcmread(file, specific_tags=tags) for file in (*files, *is_asked_to_commit)}
    entity = _entity(net, title, [heads[file] for file in files])

    def report(event: Any) -> tuple[int, None]:
        committed(event.event_information)
        return SUCCESS, None

    handlers = [
        (net.evt.EVT_CONN_OPEN, lambda event: opened(event.assoc)),
        (net.evt.EVT_N_EVENT_REPORT, report),
    ]
    where = f"{to.title}@{to.host}:{to.port}"
    if is_probed:
        _probe(to, where)
    association = entity.associate(to.host, to.port, ae_title=to.title, evt_handlers=handlers)
    if not association.is_established:
        how = "rejects us: check both AE titles" if association.is_rejected else "does not answer"
        raise ArchiveAway(f"{where}: {how}")
    try:
        result = _stored(association, files, where)
        offers = any(context.abstract_syntax == COMMITMENT for context in association.accepted_contexts)
        if not result.error and offers and is_asked_to_commit:
            result.transaction = _ask(association, [heads[file] for file in is_asked_to_commit])
    finally:
        if association.is_established:
            association.release()
    return result


def _entity(net: Any, title: str, heads: Sequence[Any]) -> Any:
    """An application entity that offers what files with these heads need, and asks for storage commitment."""
    entity = net.AE(ae_title=title)
    entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = entity.connection_timeout = IDLE_S
    for head in heads:
        syntax = head.file_meta.TransferSyntaxUID
        converted = [] if syntax.is_compressed else [IMPLICIT]  # which every archive takes
        entity.add_requested_context(head.SOPClassUID, [syntax, *converted])
    entity.add_requested_context(COMMITMENT)
    return entity


def _stored(association: Any, files: Sequence[Path], where: str) -> Sent:
    """Sends files until the association ends; says of the first that is refused why."""
    result = Sent()
    for file in files:
        status = _status(association, file)
        if status in STORED:
            result.stored.append(file)
            continue
        result.error = result.error or f"{where}: did not store what it was sent (status {_hex(status)})"
        if not association.is_established:
            break
    return result


def _probe(to: Peer, where: str) -> None:
    """Connects: pynetdicom does not say why it cannot, and leaves the socket behind.

    Raises:
        ArchiveAway: it cannot be reached.
    """
    try:
        socket.create_connection((to.host, to.port), timeout=IDLE_S).close()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ArchiveAway(f"{where}: does not answer ({why})") from error


def _status(association: Any, file: Path) -> int | None:
    """What the archive answers to a file; None where it does not."""
    try:
        return getattr(association.send_c_store(file), "Status", None)
    except (ValueError, RuntimeError, AttributeError):  # it does not take this kind, or is gone
        return None


def _hex(status: int | None) -> str:
    return "none: it does not take this kind of object, or ended the association" if status is None else f"{status:04X}"


def _ask(association: Any, heads: Sequence[Any]) -> str:
    """Asks for a commitment; returns its transaction, "" where it was not accepted."""
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    request = Dataset()
    request.TransactionUID = generate_uid()
    request.ReferencedSOPSequence = []
    for head in heads:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = head.SOPClassUID, head.SOPInstanceUID
        request.ReferencedSOPSequence.append(item)
    answer, _ = association.send_n_action(request, REQUEST_COMMITMENT, COMMITMENT, COMMITMENT_INSTANCE)
    return str(request.TransactionUID) if getattr(answer, "Status", None) == SUCCESS else ""
