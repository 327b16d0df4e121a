"""Results by OpenIGTLink, received by another implementation and by our own."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pyigtl
import pytest

from stream.common.clock import MonotonicClock
from stream.common.errors import OutputError, SourceUnreadable
from stream.outputs.igtl import IgtlOutput
from stream.outputs.web.state import DisplayState
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.record_fields import record_of
from stream.sources.live.igtl.protocol import (
    STATUS_NOT_PRESENT,
    STATUS_NOT_READY,
    STATUS_OK,
    MessageHeader,
    pack_status,
    pack_transform,
    parse_status,
    parse_transform,
    receive,
)
from stream.sources.live.igtl.source import open_igtl
from tests.fakes.doubles import DrawnSource, GreyLevelEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream.pipeline.record import Measurement


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    with Pipeline(DrawnSource(12, off_plane=range(10, 12)), GreyLevelEngine()) as pipeline:
        return list(pipeline)


class Screen:
    """What the screen says, as the test wants it."""

    state, why = DisplayState.LIVE, ""

    def __call__(self) -> tuple[DisplayState, str]:
        return self.state, self.why


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def output(screen: Screen) -> Iterator[IgtlOutput]:
    offered = IgtlOutput(0, state=screen, repeat_s=0.05)
    yield offered
    offered.close()


class Feeder(threading.Thread):
    """Writes a measurement again and again, as a live run does."""

    def __init__(self, output: IgtlOutput, measurement: Measurement) -> None:
        super().__init__()
        self._output, self.measurement, self._done = output, measurement, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(0.02):
            self._output.write(self.measurement)

    def stop(self) -> None:
        self._done.set()
        self.join()


def test_another_implementation_gets_picture_and_numbers(output: IgtlOutput, measurements: list[Measurement]) -> None:
    good = measurements[5]
    feeder = Feeder(output, good)
    client = pyigtl.OpenIGTLinkClient("127.0.0.1", output.port)
    try:
        picture = client.wait_for_message("Partum", timeout=10)
        words = client.wait_for_message("Partum/Result", timeout=10)
    finally:
        client.stop()
        feeder.stop()
    assert np.array_equal(picture.image[0], good.frame.image)
    record = json.loads(words.string)
    assert record["aop_deg"] == record_of(good)["aop_deg"]
    assert record["state"] == "measured"


def next_status(client: socket.socket) -> tuple[int, str, str]:
    while (message := receive(client)) is not None:
        if message[0].kind == "STATUS":
            return parse_status(*message)
    raise AssertionError("the connection ended")


def test_the_state_says_what_cannot_be_measured(
    output: IgtlOutput, screen: Screen, measurements: list[Measurement]
) -> None:
    for measurement, state, expected in (
        (measurements[5], DisplayState.LIVE, (STATUS_OK, "OK", "")),
        (measurements[11], DisplayState.NO_PLANE, (STATUS_NOT_READY, "CANNOT MEASURE", "not_standard_plane")),
    ):
        screen.state = state
        feeder = Feeder(output, measurement)
        with socket.create_connection(("127.0.0.1", output.port), 5) as client:
            found = next_status(client)
        feeder.stop()
        assert found == expected


def test_the_state_is_said_again_and_again_and_changes_while_the_source_is_gone(
    output: IgtlOutput, screen: Screen, measurements: list[Measurement]
) -> None:
    output.write(measurements[5])
    with socket.create_connection(("127.0.0.1", output.port), 5) as client:
        assert [next_status(client) for _ in range(3)] == [(STATUS_OK, "OK", "")] * 3
        for state, code in (
            (DisplayState.RECONNECTING, STATUS_NOT_PRESENT),
            (DisplayState.NO_SIGNAL, STATUS_NOT_READY),
            (DisplayState.DELAYED, STATUS_NOT_READY),
            (DisplayState.ENDED, STATUS_NOT_PRESENT),
        ):
            screen.state, screen.why = state, "the cable was pulled"
            found = [next_status(client) for _ in range(3)]
            assert found[-1] == (code, str(state).upper(), "the cable was pulled")


def test_sixty_clients_that_came_and_went_leave_nothing_while_there_is_no_result(output: IgtlOutput) -> None:
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for number in range(60):
        with socket.create_connection(("127.0.0.1", output.port), 5) as client:
            if number % 3 == 0:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if number % 3 == 1:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends by a reset
    for _ in range(500):
        if threading.active_count() == threads and len(os.listdir("/proc/self/fd")) == descriptors:
            break
        time.sleep(0.01)
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_our_own_client_takes_its_pictures_as_a_live_feed(output: IgtlOutput, measurements: list[Measurement]) -> None:
    feeder = Feeder(output, measurements[5])
    with open_igtl(f"igtl://127.0.0.1:{output.port}/Partum", clock=MonotonicClock()) as source:
        frame = next(iter(source))
    feeder.stop()
    assert np.array_equal(frame.image, measurements[5].frame.image)


def test_a_client_that_sleeps_slows_nobody_and_one_that_goes_is_let_go(
    output: IgtlOutput, measurements: list[Measurement]
) -> None:
    with (
        socket.create_connection(("127.0.0.1", output.port), 5),
        socket.create_connection(("127.0.0.1", output.port), 5) as going,
    ):
        time.sleep(0.3)
        going.close()
        began = time.perf_counter()
        for _ in range(300):
            output.write(measurements[5])
        assert time.perf_counter() - began < 5


def test_a_port_that_is_taken_is_said(output: IgtlOutput) -> None:
    with pytest.raises(OutputError, match="choose another"):
        IgtlOutput(output.port, state=Screen())


def test_transforms_and_states_go_over_and_come_back() -> None:
    matrix = [[0.0, -1.0, 0.0, 10.5], [1.0, 0.0, 0.0, -3.25], [0.0, 0.0, 1.0, 7.0], [0.0, 0.0, 0.0, 1.0]]
    sent = pack_transform(matrix, "Probe", timestamp_ns=5_000_000_000)
    header, body = MessageHeader.parse(sent[:58]), memoryview(sent[58:])
    assert (header.kind, header.device, header.timestamp_ns) == ("TRANSFORM", "Probe", 5_000_000_000)
    assert parse_transform(header, body) == matrix
    with pytest.raises(SourceUnreadable, match="cut short"):
        parse_transform(header, body[:20])
    sent = pack_status(13, "Not ready", "warming up", "Scanner", timestamp_ns=0)
    header, body = MessageHeader.parse(sent[:58]), memoryview(sent[58:])
    assert parse_status(header, body) == (13, "Not ready", "warming up")
    with pytest.raises(SourceUnreadable, match="cut short"):
        parse_status(header, body[:20])


def test_a_transform_of_another_implementation_reads_the_same() -> None:
    matrix = np.array([[0.0, -1.0, 0.0, 10.5], [1.0, 0.0, 0.0, -3.25], [0.0, 0.0, 1.0, 7.0], [0.0, 0.0, 0.0, 1.0]])
    sent = pyigtl.TransformMessage(matrix, device_name="Probe").pack()
    assert np.allclose(parse_transform(MessageHeader.parse(sent[:58]), memoryview(sent[58:])), matrix)
