"""The storage SCP: takes objects of known peers into the queue, and acknowledges them when they are on the disk."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Self

from stream.common.errors import OutputError
from stream.receiver.arrival import QueueFull
from stream.receiver.associations import end_associations, import_pynetdicom
from stream.receiver.peers import plain_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from stream.receiver.peers import Peer
    from stream.receiver.queue import ReceivedQueue

RETIRED_CLASSES = {
    "RetiredUltrasoundMultiFrameImageStorage": "1.2.840.10008.5.1.4.1.1.3",
    "RetiredUltrasoundImageStorage": "1.2.840.10008.5.1.4.1.1.6",
}
"""What older scanners send; pynetdicom knows them not, and aborts what it knows not."""
STORAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.3.1",  # ultrasound multi-frame
    "1.2.840.10008.5.1.4.1.1.6.1",  # ultrasound
    *RETIRED_CLASSES.values(),
)
"""What is taken: pictures of ultrasound."""
TRANSFER_SYNTAXES = (
    *("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"),  # uncompressed
    *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"),  # JPEG
    *("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),  # JPEG-LS
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE
    *(f"1.2.840.10008.1.2.4.{number}" for number in (100, 101, 102, 103, 104, 107)),  # MPEG-2, H.264, HEVC
    *(f"1.2.840.10008.1.2.4.{number}.1" for number in (100, 101, 102, 103, 104)),  # the same in fragments
)
"""What `stream.sources.files.dicom` reads."""
SUCCESS, OUT_OF_RESOURCES, PROCESSING_FAILURE, NOT_SUPPORTED = 0x0000, 0xA700, 0x0110, 0x0122
PDU_BYTES = 1 << 17
"""Of a message at most, as peers are told: fewer of them are faster."""
COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model."""
IDLE_S = 60.0
_NOT_RECOGNISED = (0x01, 0x01, 0x03)
"""Rejected for good, by the service user: calling AE title not recognised."""
_TELL_S, _MOST_TOLD = 60.0, 1000
"""Of one address it is told once in so long that it was rejected; so many addresses are remembered."""

log = logging.getLogger(__name__)


class StorageServer:
    """Listens from the time it is made until it is closed; a context manager.

    Args:
        title: our own AE title; peers that call another are rejected.
        host, port: where to listen.
        peers: who may call, by title and address; the others are rejected.
        queue: takes what comes.
        told: called with a line for people, which names no patient; from any thread.
        committed: called with the data set of a storage commitment's report, and whether it was well received.

    Raises:
        OutputError: the port cannot be had.
        ExtraMissing: pynetdicom is not installed.
    """

    def __init__(
        self,
        *,
        title: str,
        host: str,
        port: int,
        peers: Sequence[Peer],
        queue: ReceivedQueue,
        told: Callable[[str], None],
        committed: Callable[[Any], None] = lambda report: None,
    ) -> None:
        net = import_pynetdicom()
        from stream.receiver.data_sets import StoringServer
        from stream.receiver.listener import ASK_S, MOST_ASSOCIATIONS

        self._peers, self._told, self._committed = peers, told, committed
        self._told_s: dict[str, float] = {}
        entity = net.AE(ae_title=title)
        entity.require_called_aet = True
        entity.maximum_associations = MOST_ASSOCIATIONS
        entity.maximum_pdu_size = PDU_BYTES
        entity.network_timeout = entity.dimse_timeout = IDLE_S
        entity.acse_timeout = ASK_S
        entity.add_supported_context("1.2.840.10008.1.1")  # C-ECHO
        entity.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        for keyword, uid in RETIRED_CLASSES.items():
            net.register_uid(uid, keyword, net.service_class.StorageServiceClass)
        for each in STORAGE_CLASSES:
            entity.add_supported_context(each, list(TRANSFER_SYNTAXES))
        handlers = [
            (net.evt.EVT_REQUESTED, self._check_peer),
            (net.evt.EVT_C_STORE, self._store),
            (net.evt.EVT_C_ECHO, lambda event: SUCCESS),
            (net.evt.EVT_N_EVENT_REPORT, self._report),
            (net.evt.EVT_CONN_CLOSE, lambda event: event.assoc.dimse.drop()),
        ]
        try:
            self._server = entity.make_server(
                (host, port), evt_handlers=handlers, server_class=StoringServer, admits=self._admits, queue=queue
            )
        except OSError as error:
            raise OutputError(
                f"{host}:{port}: cannot listen there ({error.strerror}); choose another --port or --bind"
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stops listening, and aborts what is under way: nothing that was not acknowledged counts as sent."""
        self._server.shutdown()
        end_associations(self._server.active_associations)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _admits(self, title: str, address: str) -> tuple[int, int, int] | None:
        """Lets in who may be a known peer; by the names of hosts that is looked up later, as it may take a while."""
        plain = plain_address(address)
        alike = [peer for peer in self._peers if peer.title == title]
        if any(peer.may_be_anywhere or plain in peer.addresses() for peer in alike):
            return None
        self._tell_rejected(address, is_title_known=bool(alike))
        return _NOT_RECOGNISED

    def _check_peer(self, event: Any) -> None:
        """Rejects an association of a peer that is not known by its title and address."""
        association = event.assoc
        title, address = str(association.requestor.primitive.calling_ae_title).strip(), association.requestor.address
        alike = [peer for peer in self._peers if peer.title == title]
        if any(plain_address(address) in peer.addresses() for peer in alike):
            return
        self._tell_rejected(address, is_title_known=bool(alike))
        association.acse.send_reject(*_NOT_RECOGNISED)
        association.kill()

    def _tell_rejected(self, address: str, *, is_title_known: bool) -> None:
        """Tells of a rejection, without the title: a stranger may put any text there."""
        now_s = time.monotonic()
        if now_s < self._told_s.get(address, 0.0):
            return
        if len(self._told_s) >= _MOST_TOLD:
            self._told_s.clear()
        self._told_s[address] = now_s + _TELL_S
        why = "no --peer of its title is at this address" if is_title_known else "no --peer has its title"
        self._told(f"a peer at {plain_address(address) or address} was rejected: {why}")

    def _store(self, event: Any) -> int:
        """Answers an object: success only when it is on the disk."""
        if event.request.AffectedSOPClassUID != event.context.abstract_syntax:
            event.request.DataSet.drop()
            return NOT_SUPPORTED
        try:
            event.request.DataSet.keep()
        except QueueFull as error:
            self._told(str(error))
            return OUT_OF_RESOURCES
        except OutputError as error:
            self._told(str(error))
            return PROCESSING_FAILURE
        except Exception as error:  # noqa: BLE001 - a library's thread: the peer is told, and sends again
            log.debug("an object could not be taken in (%s)", type(error).__name__)
            self._told(f"an object could not be taken in ({type(error).__name__})")
            return PROCESSING_FAILURE
        return SUCCESS

    def _report(self, event: Any) -> tuple[int, None]:
        """Takes what an archive says of what it was sent."""
        self._committed(event.event_information)
        return SUCCESS, None
