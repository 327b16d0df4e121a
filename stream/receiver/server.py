"""The storage SCP: takes objects of known peers into the queue, and acknowledges them when they are on the disk."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from stream.common.errors import ExtraMissing, OutputError
from stream.receiver.queue import QueueFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType, TracebackType

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
SUCCESS, OUT_OF_RESOURCES, PROCESSING_FAILURE = 0x0000, 0xA700, 0x0110
COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model."""
MOST_ASSOCIATIONS = 64
IDLE_S = 60.0
_NOT_RECOGNISED = (0x01, 0x01, 0x03)
"""Rejected for good, by the service user: calling AE title not recognised."""

log = logging.getLogger(__name__)


def import_pynetdicom() -> ModuleType:
    """The package, silent as those below it: their logs quote what is sent.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        import pynetdicom
    except ImportError as error:
        raise ExtraMissing(
            "receiving needs pynetdicom, which is not installed; run: pip install 'partum[dicom]'"
        ) from error
    for name in ("pynetdicom", "pydicom", "highdicom"):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
    return pynetdicom


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
        self._peers, self._queue, self._told, self._committed = peers, queue, told, committed
        entity = net.AE(ae_title=title)
        entity.require_called_aet = True
        entity.maximum_associations = MOST_ASSOCIATIONS
        entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = IDLE_S
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
        ]
        try:
            self._server = entity.start_server((host, port), block=False, evt_handlers=handlers)
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_peer(self, event: Any) -> None:
        """Rejects an association of a peer that is not known by its title and address."""
        association = event.assoc
        title, address = str(association.requestor.primitive.calling_ae_title).strip(), association.requestor.address
        if any(peer.title == title and address in peer.addresses() for peer in self._peers):
            return
        self._told(f"a peer at {address} was rejected: it is none of --peer")
        association.acse.send_reject(*_NOT_RECOGNISED)
        association.kill()

    def _store(self, event: Any) -> int:
        """Answers an object: success only when it is on the disk."""
        try:
            self._queue.put([*_beginning(event), event.request.DataSet.getbuffer()])
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


def _beginning(event: Any) -> Sequence[bytes]:
    """Preamble and file meta information of an object that was sent."""
    from pynetdicom.dsutils import encode_file_meta

    return [bytes(128) + b"DICM", encode_file_meta(event.file_meta)]
