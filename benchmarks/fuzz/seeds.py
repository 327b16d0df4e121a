"""Sound little inputs of each format, the same at every call."""

# ruff: noqa: D103 - a function of this module makes what its name says

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import zipfile
import zlib
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from PIL import Image

from stream.frames.frame import Frame, PixelSpacing
from stream.frames.reason import Reason
from stream.measurement.protocols import DEFAULT_PROTOCOL
from stream.outputs.recorder import Recorder
from stream.pipeline.record import FrameState, Measurement
from stream.sources.decoding.h264 import nal_units
from stream.sources.live.igtl.protocol import EXTENDED, HEADER, pack, pack_image, pack_status, pack_string

if TYPE_CHECKING:
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

COUNT, HEIGHT, WIDTH = 6, 32, 48


@cache
def pictures() -> NDArray[np.uint8]:
    """Smooth moving pictures, (COUNT, HEIGHT, WIDTH)."""
    t, y, x = np.mgrid[:COUNT, :HEIGHT, :WIDTH].astype(np.float64)
    levels: NDArray[np.float64] = 127 + 60 * np.sin((x + 7 * t) / 9) + 60 * np.cos((y - 5 * t) / 7)
    return np.rint(levels).astype(np.uint8)


@cache
def mp4() -> tuple[bytes, ...]:
    return _video("mp4", "libx264"), _video("mp4", "mpeg4"), _video("mov", "png", pix_fmt="gray")


@cache
def mkv() -> tuple[bytes, ...]:
    return _video("matroska", "libx264"), _video("matroska", "ffv1", pix_fmt="gray"), _video("webm", "libvpx")


@cache
def avi() -> tuple[bytes, ...]:
    return (
        _video("avi", "mjpeg", pix_fmt="yuvj420p"),
        _video("avi", "mpeg4"),
        _video("avi", "rawvideo", pix_fmt="gray"),
    )


@cache
def ts() -> tuple[bytes, ...]:
    return _video("mpegts", "libx264"), _video("mpegts", "mpeg2video")


@cache
def gif() -> tuple[bytes, ...]:
    return _film("GIF", mode="P"), _still("GIF")


@cache
def png() -> tuple[bytes, ...]:
    wide = Image.fromarray(pictures()[0].astype(np.uint16) * 257)
    return _still("PNG"), _still("PNG", mode="P"), _still("PNG", mode="RGBA"), _saved(wide, "PNG"), _film("PNG")


def with_png_sums(data: bytes) -> bytes:
    """The same bytes with the check sums right, as far as there are chunks."""
    mended, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        mended[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(mended)


@cache
def jpeg() -> tuple[bytes, ...]:
    film = _film("MPO", mode="RGB")
    return _still("JPEG"), _still("JPEG", mode="RGB", progressive=True), _still("JPEG", mode="CMYK"), film


@cache
def tiff() -> tuple[bytes, ...]:
    wide = Image.fromarray(pictures()[0].astype(np.uint16) * 257)
    packed = _still("TIFF", compression="tiff_lzw"), _still("TIFF", mode="RGB", compression="jpeg")
    return _still("TIFF"), *packed, _saved(wide, "TIFF"), _film("TIFF")


@cache
def pnm() -> tuple[bytes, ...]:
    picture = pictures()[0]
    text = f"P2\n# of a test\n{WIDTH} {HEIGHT}\n255\n" + "\n".join(" ".join(map(str, row)) for row in picture)
    wide = f"P5 {WIDTH} {HEIGHT} 4095\n".encode() + (picture.astype(np.uint16) * 16).astype(">u2").tobytes()
    return _still("PPM"), _still("PPM", mode="RGB"), text.encode(), wide


@cache
def webp() -> tuple[bytes, ...]:
    return _still("WEBP", lossless=True), _still("WEBP", mode="RGB"), _film("WEBP", mode="RGB")


@cache
def nrrd() -> tuple[bytes, ...]:
    timed = {"kinds": "domain domain time", "spacings": "0.2 0.2 40", "units": '"mm" "mm" "ms"'}
    return (
        _nrrd({"kinds": "domain domain list", "spacings": "0.2 0.3 nan"}),
        _nrrd(timed, packed=True),
        _nrrd({"kinds": "domain domain list", "axis 2 index values=": "0 0.1 0.2 0.3 0.5 0.6"}),
        _nrrd({"kinds": "list domain domain", "sizes": f"{COUNT} {WIDTH} {HEIGHT}"}, packed=True),
        _nrrd({}, dtype="<f4"),
    )


@cache
def mha() -> tuple[bytes, ...]:
    plus = {"UltrasoundImageOrientation": "MFA", "UltrasoundImageType": "BRIGHTNESS", "Kinds": "domain domain list"}
    for index in range(COUNT):
        plus[f"Seq_Frame{index:04d}_Timestamp"] = f"{3 + index * 0.04:.3f}"
        plus[f"Seq_Frame{index:04d}_ImageStatus"] = "INVALID" if index == 2 else "OK"
    return (
        _metaimage({}),
        _metaimage({"CompressedData": "True"}, packed=True),
        _metaimage(plus),
        _metaimage({"ElementType": "MET_SHORT"}, dtype="<i2"),
        _metaimage({"ElementType": "MET_LONG_LONG"}, dtype="<i8"),
    )


@cache
def mhd() -> tuple[bytes, ...]:
    header = _metaimage({"ElementDataFile": "a.raw"})
    return (header[: -pictures().nbytes],)


@cache
def raw() -> bytes:
    """The pixels of `mhd`."""
    return pictures().tobytes()


@cache
def zip_archive() -> tuple[bytes, ...]:
    return _zipped({"a.mha": mha()[0]}), _zipped({f"clip/{index}.png": png()[0] for index in range(3)})


@cache
def recording_lines() -> tuple[bytes, ...]:
    return (_recording()[0],)


@cache
def recording_index() -> bytes:
    """The lines that belong to `nut`."""
    return _recording()[0]


@cache
def nut() -> tuple[bytes, ...]:
    return (_recording()[1],)


@cache
def one_nut() -> bytes:
    """The pictures that belong to `recording_lines`."""
    return _recording()[1]


@cache
def one_png() -> bytes:
    """A sound neighbour of a mutated picture."""
    return _still("PNG")


@cache
def mask_png() -> tuple[bytes, ...]:
    return _saved(Image.fromarray(_labels()), "PNG"), _saved(Image.fromarray(_labels()).convert("P"), "PNG")


@cache
def mask_mha() -> tuple[bytes, ...]:
    wide = _labels().astype("<i8").tobytes()
    header = f"NDims = 2\nDimSize = {WIDTH} {HEIGHT}\nElementType = MET_{{}}\nElementDataFile = LOCAL\n"
    return header.format("UCHAR").encode() + _labels().tobytes(), header.format("LONG_LONG").encode() + wide


@cache
def profile() -> tuple[bytes, ...]:
    return (
        b'screen = [1920, 1080]\nsector = "800x600+100+50"\npane = "left"\ntick_mm = 10\nspacing_mm = [0.25, 0.25]\n',
        b'sector = "auto"\nspacing_mm = [0.2, 0.3]\n',
    )


def _labels() -> NDArray[np.uint8]:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[4:12, 4:16], labels[12:28, 16:40] = 1, 2
    return labels


def _video(container: str, codec: str, *, pix_fmt: str = "yuv420p") -> bytes:
    memory = io.BytesIO()
    with av.open(memory, "w", format=container) as output:
        stream = cast("VideoStream", output.add_stream(codec, rate=25))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.gop_size = 3
        stream.codec_context.thread_count = 1
        for index, picture in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return memory.getvalue()


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    memory = io.BytesIO()
    image.save(memory, kind, **options)
    return memory.getvalue()


def _still(kind: str, *, mode: str = "L", **options: Any) -> bytes:
    return _saved(Image.fromarray(pictures()[0]).convert(mode), kind, **options)


def _film(kind: str, *, mode: str = "L") -> bytes:
    count = 2 if kind == "MPO" else COUNT  # of more, Pillow writes wrong offsets
    first, *rest = [Image.fromarray(picture).convert(mode) for picture in pictures()[:count]]
    options = {} if kind in ("TIFF", "MPO") else {"duration": 40, "loop": 0}
    return _saved(first, kind, save_all=True, append_images=rest, **options)


def _nrrd(fields: dict[str, str], *, packed: bool = False, dtype: str = "u1") -> bytes:
    stored = pictures().astype(dtype).tobytes()
    header = {
        "type": {"u1": "uint8", "<f4": "float"}[dtype],
        "dimension": "3",
        "sizes": f"{WIDTH} {HEIGHT} {COUNT}",
        "encoding": "gzip" if packed else "raw",
        "endian": "little",
        **fields,
    }
    text = "".join(f"{key}: {value}\n".replace("=:", ":=") for key, value in header.items())
    return f"NRRD0005\n{text}\n".encode() + (gzip.compress(stored, mtime=0) if packed else stored)


def _metaimage(fields: dict[str, str], *, packed: bool = False, dtype: str = "u1") -> bytes:
    stored = pictures().astype(dtype).tobytes()
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "DimSize": f"{WIDTH} {HEIGHT} {COUNT}",
        "ElementSpacing": "0.2 0.3 1",
        "ElementType": "MET_UCHAR",
        **fields,
    }
    header["ElementDataFile"] = header.pop("ElementDataFile", "LOCAL")
    text = "".join(f"{key} = {value}\n" for key, value in header.items())
    return text.encode() + (zlib.compress(stored) if packed else stored)


def _zipped(members: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return memory.getvalue()


@cache
def _recording() -> tuple[bytes, bytes]:
    """What `--record` writes: the lines, and the pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "recording"
        recorder = Recorder(folder, note="")
        for index, picture in enumerate(pictures()):
            frame = Frame(
                image=picture.copy(),
                index=index,
                pts=index,
                time_base=Fraction(1, 25),
                captured_ns=0,
                spacing=PixelSpacing(0.2, 0.3),
            )
            reason = Reason.FROZEN if index == 2 else Reason.NO_FH
            recorder.write(
                Measurement(
                    frame=frame, protocol=DEFAULT_PROTOCOL, state=FrameState.REFUSED, latency_ms=0.0, reason=reason
                )
            )
        recorder.close()
        return (folder / "frames.jsonl").read_bytes(), (folder / "0000.nut").read_bytes()


@cache
def openigtlink() -> tuple[bytes, ...]:
    """Messages of all kinds that are read, by themselves and one after the other."""
    now_ns, picture = 1_790_000_000_000_000_000, pictures()[0]
    image = pack_image(picture, "Probe", spacing=PixelSpacing(0.3, 0.3), timestamp_ns=now_ns)
    status = pack_status(1, "OK", "well", "Probe", timestamp_ns=now_ns)
    words = pack_string("{}", "Text", timestamp_ns=now_ns)
    index, metadata = struct.pack(">HHHI", 1, 3, 3, 2), b"keyon"
    body = EXTENDED.pack(EXTENDED.size, len(index), len(metadata), 7) + image[HEADER.size :] + index + metadata
    second = HEADER.pack(2, b"IMAGE", b"Probe", 1 << 62, len(body), 0) + body
    wide = struct.pack(">HBBBB", 1, 1, 5, 2, 1) + image[HEADER.size + 6 :] + picture.tobytes()
    sixteen = pack("IMAGE", "Probe", wide, timestamp_ns=now_ns)
    return image, second, sixteen, status + image, words + status + image, image + second + sixteen + image


@cache
def rtsp() -> tuple[bytes, ...]:
    """A server's answers and packets, of H.264 whole, in aggregates and in fragments, and of H.265."""
    return _session("H264", coded_units("libx264"), 5), _session("H265", coded_units("libx265"), 10)


def coded_units(codec: str) -> list[bytes]:
    """The NAL units of six pictures."""
    context = cast("av.VideoCodecContext", av.CodecContext.create(codec, "w"))
    context.width, context.height, context.pix_fmt, context.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, 25)
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    context.options = {"tune": "zerolatency", "preset": "ultrafast", **quiet}
    coded = b""
    for picture in [*pictures(), None]:
        frame = (
            av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            if picture is not None
            else None
        )
        coded += b"".join(bytes(packet) for packet in context.encode(frame))
    return [unit.rstrip(b"\0") for unit in nal_units(coded, 0)]


def _session(codec: str, units: list[bytes], most: int) -> bytes:
    sdp = f"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 {codec}/90000\r\na=control:t\r\n"
    said = f"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
    said += "RTSP/1.0 200 OK\r\nCSeq: 2\r\nSession: 1;timeout=60\r\n\r\nRTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n"
    sent, sequence = said.encode(), 0
    for number, unit in enumerate(units):
        parts = [unit]
        if len(unit) > 100 * most and codec == "H264":
            parts = [bytes([unit[0] & 0xE0 | 28, 0x80 | unit[0] & 31]) + unit[1:99]]
            parts += [bytes([unit[0] & 0xE0 | 28, 0x40 | unit[0] & 31]) + unit[99:]]
        elif number < most and codec == "H264":
            parts = [b"\x18" + len(unit).to_bytes(2) + unit]
        for part in parts:
            packet = struct.pack(">BBHII", 0x80, 0x80 | 96, sequence, 3600 * number, 7) + part
            sent += b"$\0" + len(packet).to_bytes(2) + packet
            sequence += 1
    return sent
