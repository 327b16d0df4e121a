"""Publishes test video as a scanner would, from its own process.

    python -m benchmarks.rig.publisher udp://127.0.0.1:5000 --rate 25 --seconds 5
    python -m benchmarks.rig.publisher rtsp://127.0.0.1:8554/live       (or rtmp://)
    python -m benchmarks.rig.publisher http://127.0.0.1:8080/stream.mjpg

Each picture carries its number as a row of black and white squares, so that a receiver can tell which one it got, and
when it was drawn: number / rate after the time printed on the first line of stdout (monotonic nanoseconds).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import av
import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 240
SQUARE = 20
BITS = 14


def draw_numbered(number: int) -> NDArray[np.uint8]:
    """A picture with moving grey and its number in squares at the bottom."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image: NDArray[np.uint8] = (60 + 40 * np.sin((x + 3 * number) / 20) * np.cos(y / 17)).astype(np.uint8)
    for bit in range(BITS):
        value = 235 if number >> bit & 1 else 16
        image[HEIGHT - SQUARE :, bit * SQUARE : (bit + 1) * SQUARE] = value
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """The number in a picture that went over the network."""
    row = image[HEIGHT - SQUARE // 2]
    return sum(1 << bit for bit in range(BITS) if row[bit * SQUARE + SQUARE // 2] > 128)


def ticks(rate: float, seconds: float) -> Iterator[int]:
    """Numbers, each when it is due."""
    start = time.monotonic_ns()
    sys.stdout.write(f"{start}\n")
    sys.stdout.flush()
    for number in range(round(rate * seconds)):
        due_s = number / rate - (time.monotonic_ns() - start) / 1e9
        if due_s > 0:
            time.sleep(due_s)
        yield number


def publish(uri: str, rate: float, seconds: float) -> None:
    """H.264 to a receiver that waits for it."""
    scheme = uri.partition(":")[0]
    file_format = {"udp": "mpegts", "rtsp": "rtsp", "rtmp": "flv", "tcp": "mpegts"}[scheme]
    options = {"rtsp_transport": "tcp"} if scheme == "rtsp" else {}
    with av.open(uri, "w", format=file_format, options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "12", "crf": "18"}
        stream.codec_context.time_base = Fraction(1, 90_000)
        for number in ticks(rate, seconds):
            picture = av.VideoFrame.from_ndarray(draw_numbered(number), format="gray").reformat(format="yuv420p")
            picture.pts, picture.time_base = round(number / rate * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def serve(uri: str, rate: float, seconds: float) -> None:
    """Motion JPEG by HTTP, to whoever asks."""

    class Stream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for number in ticks(rate, seconds):
                    _, jpeg = cv2.imencode(".jpg", draw_numbered(number))
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
                    self.wfile.flush()
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    parts = urlsplit(uri)
    ThreadingHTTPServer((parts.hostname or "", parts.port or 80), Stream).serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    (serve if given.uri.startswith("http") else publish)(given.uri, given.rate, given.seconds)
    sys.exit(0)
