"""Data sets that come over an association: those of objects to be stored go to the disk piece by piece."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

from pydicom.uid import PYDICOM_IMPLEMENTATION_UID
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.transport import RequestHandler

from stream.receiver.listener import Listener

if TYPE_CHECKING:
    from stream.receiver.arrival import Arrival
    from stream.receiver.queue import ReceivedQueue

MOST_IN_MEMORY = 16 << 20
"""Of a data set that is not to be stored: a report of an archive names objects, and is small."""
PREFIX = bytes(128) + b"DICM"


class IncomingDataSet(io.BytesIO):
    """The data set of a message, as pynetdicom fills it.

    Args:
        message: whose it is; what it is is known when the data set begins.
        association: that it comes over.
        queue: takes objects.
    """

    def __init__(self, message: Any, association: Any, queue: ReceivedQueue) -> None:
        super().__init__()
        self._message, self._association, self._queue = message, association, queue
        self._arrival: Arrival | None = None
        self._error: Exception | None = None

    def write(self, data: Any, /) -> int:
        """Adds a piece; an error is raised by `keep`, as the peer is to be told it."""
        if isinstance(self._message, C_STORE_RQ):
            try:
                self._begun().write(data)
            except Exception as error:  # noqa: BLE001 - what the peer says of the object may be anything
                self._error = error
        elif self.tell() < MOST_IN_MEMORY:
            super().write(data)
        return len(data)

    @property
    def is_object(self) -> bool:
        """Whether it is of an object that can be stored."""
        return bool(self._message.command_set.get("AffectedSOPInstanceUID")) and bool(self._arrival or self._error)

    def keep(self) -> str:
        """Puts the object into the queue; returns its key.

        Raises:
            QueueFull: there is no room for it.
            OutputError: it could not be written.
            Exception: what the peer said of it could not be read.
        """
        if self._error:
            self.drop()
            raise self._error
        return self._begun().keep()

    def drop(self) -> None:
        """Removes what has come."""
        if self._arrival:
            self._arrival.discard()

    def _begun(self) -> Arrival:
        if self._arrival is None:
            said, number = self._message.command_set, self._message.context_id
            context = next(each for each in self._association.accepted_contexts if each.context_id == number)
            meta = create_file_meta(
                sop_class_uid=said.AffectedSOPClassUID,
                sop_instance_uid=said.AffectedSOPInstanceUID,
                transfer_syntax=context.transfer_syntax[0],
                implementation_uid=PYDICOM_IMPLEMENTATION_UID,  # the same in every version: so is the hash of a file
                implementation_version="PARTUM",
            )
            self._arrival = self._queue.arrival()
            for part in (PREFIX, encode_file_meta(meta)):
                self._arrival.write(part)
        return self._arrival


class _Provider(DIMSEServiceProvider):
    """The messages of an association."""

    def __init__(self, association: Any, queue: ReceivedQueue) -> None:
        super().__init__(association)
        self._queue = queue

    def receive_primitive(self, primitive: Any) -> None:
        """Takes a piece of a message.

        An object without a UID or without content, which pynetdicom drops without a word, ends the association: its
        sender would wait for an answer.
        """
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = IncomingDataSet(self.message, self.assoc, self._queue)
        message, data_set = self.message, cast("IncomingDataSet", self.message.data_set)
        super().receive_primitive(primitive)
        if self.message is None and isinstance(message, C_STORE_RQ) and not data_set.is_object:
            data_set.drop()
            self.assoc.abort(block=False)

    def drop(self) -> None:
        """Removes what has come of a message that is not whole."""
        data_set = self.message and self.message.data_set
        if isinstance(data_set, IncomingDataSet):
            data_set.drop()


class _Handler(RequestHandler):
    """Makes the association of a connection."""

    def _create_association(self) -> Any:
        association = super()._create_association()
        assert isinstance(self.server, StoringServer)
        association.dimse = _Provider(association, self.server.queue)
        return association


class StoringServer(Listener):
    """A listener whose objects go into a queue.

    Args:
        queue: that.
    """

    def __init__(self, *arguments: Any, queue: ReceivedQueue, **options: Any) -> None:
        self.queue = queue
        super().__init__(*arguments, request_handler=_Handler, **options)
