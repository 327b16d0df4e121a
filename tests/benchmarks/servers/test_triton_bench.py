"""The measurement of a Triton server counts what it was answered, by whatever server speaks the protocol."""

from __future__ import annotations

import pytest

from benchmarks.servers.triton import measured
from engines.errors import RemoteError
from tests.fakes.doubles import GreyLevelEngine
from tests.fakes.kserve_server import KServeServer


def test_streams_are_counted_and_timed() -> None:
    with KServeServer(GreyLevelEngine()) as server:
        row = measured(server.uri, 2, seconds=0.3)
        assert row["streams"] == 2
        assert 2 <= row["frames"] <= server.requests
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p99"]
        assert row["frames_per_second"] > 0
        assert row["mean_batch"] is None  # this one tells no statistics


def test_an_error_of_a_stream_is_raised() -> None:
    with pytest.raises(RemoteError, match="no answer"):
        measured("triton://127.0.0.1:1/none?patience=0.1&timeout=0.1", 1, seconds=0.1)
