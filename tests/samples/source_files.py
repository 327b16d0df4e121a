"""Small recordings of known content, written for the tests of the sources."""

from __future__ import annotations

import zlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import cv2
import numpy as np
import pytest
from PIL import Image, features

from stream.common.clock import ManualClock
from stream.common.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from stream.frames.frame import Frame
    from stream.sources.base import FrameSource

CLOCK = ManualClock(7)
WIDTH, HEIGHT = 96, 64


def waves(count: int, *, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Smooth moving pictures, (count, height, width), each unlike every other."""
    t, y, x = np.mgrid[:count, :height, :width].astype(np.float64)
    levels: NDArray[np.float64] = 127 + 60 * np.sin((x + 7 * t) / 9) + 60 * np.cos((y - 5 * t) / 7)
    return np.rint(levels).astype(np.uint8)


def bars(levels: Sequence[int] = range(0, 256, 17), *, height: int = 64, width_each: int = 16) -> NDArray[np.uint8]:
    """Upright bars of known grey, (height, width)."""
    return np.repeat(np.repeat(np.array(levels, np.uint8), width_each)[None], height, axis=0)


def from_luma(luma: NDArray[Any], pix_fmt: str) -> av.VideoFrame:
    """A colourless picture with exactly these values in its first plane."""
    frame = av.VideoFrame(luma.shape[1], luma.shape[0], pix_fmt)
    for index, plane in enumerate(frame.planes):
        memory = np.frombuffer(cast("memoryview[int]", plane), luma.dtype).reshape(plane.height, -1)
        if index == 0:
            memory[:, : luma.shape[1]] = luma
        else:
            memory[:] = 128 if luma.dtype == np.uint8 else 512
    return frame


def from_grey(picture: NDArray[np.uint8], pix_fmt: str = "yuv420p") -> av.VideoFrame:
    """A picture as an encoder would be given it, by way of RGB."""
    return av.VideoFrame.from_ndarray(np.stack([picture] * 3, axis=-1), format="rgb24").reformat(format=pix_fmt)


def write_video(
    path: Path,
    frames: Iterable[av.VideoFrame],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rate: int = 25,
    gop: int = 12,
    color_range: int | None = None,
    rotation: int | None = None,
    hflip: bool = False,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Encodes the frames; `times` are their timestamps in units of `time_base`, else one a frame."""
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        output.metadata.update(metadata or {})
        stream = cast("VideoStream", output.add_stream(codec, rate=rate))
        stream.options = cast("dict[str, object]", options or {})
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=hflip)
        for index, frame in enumerate(frames):
            if index == 0:
                context = stream.codec_context
                context.width, context.height, context.pix_fmt = frame.width, frame.height, pix_fmt
                context.gop_size = gop
                if aspect is not None:
                    context.sample_aspect_ratio = aspect
                if color_range is not None:
                    context.color_range = color_range
            if color_range is not None:
                frame.color_range = color_range
            frame.pts = times[index] if times else index
            frame.time_base = time_base or Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def write_waves(path: Path, count: int = 12, **options: Any) -> Path:
    """A video of `waves`."""
    pix_fmt = options.get("pix_fmt", "yuv420p")
    return write_video(path, (from_grey(picture, pix_fmt) for picture in waves(count)), **options)


def write_images(folder: Path, pictures: Iterable[NDArray[Any]], *, suffix: str = ".png") -> Path:
    """A folder of `image0`, `image1` ... without leading zeros."""
    folder.mkdir()
    for index, picture in enumerate(pictures):
        assert cv2.imwrite(str(folder / f"image{index}{suffix}"), picture)
    return folder


def write_film(path: Path, pictures: Iterable[NDArray[Any]], *, mode: str = "L", **options: Any) -> Path:
    """A film in a container for pictures, 25 a second where it has times; its suffix says which."""
    if path.suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")
    first, *rest = [Image.fromarray(picture).convert(mode) for picture in pictures]
    times: dict[str, Any] = {} if path.suffix in (".tif", ".mpo") else {"duration": 40, "loop": 0}
    first.save(path, save_all=True, append_images=rest, **times, **options)
    return path


def write_metaimage(
    path: Path,
    stored: NDArray[Any],
    *,
    compressed: bool = False,
    data_name: str = "LOCAL",
    sizes: Sequence[int] | None = None,
    fields: dict[str, str] | None = None,
    element_type: str | None = None,
) -> Path:
    """A MetaImage file of an array in C order; `sizes` (fastest first) may lie about it."""
    names = {"u1": "UCHAR", "i1": "CHAR", "u2": "USHORT", "i2": "SHORT", "i4": "INT", "f4": "FLOAT", "f8": "DOUBLE"}
    shown = sizes or stored.shape[::-1]
    data = zlib.compress(stored.tobytes()) if compressed else stored.tobytes()
    header = {
        "ObjectType": "Image",
        "NDims": str(len(shown)),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(stored.dtype.byteorder == ">"),
        "CompressedData": str(compressed),
        "DimSize": " ".join(map(str, shown)),
        "ElementType": element_type or f"MET_{names[stored.dtype.str[1:]]}",
        **(fields or {}),
        "ElementDataFile": data_name,
    }
    text = "".join(f"{key} = {value}\n" for key, value in header.items()).encode()
    if data_name == "LOCAL":
        path.write_bytes(text + data)
    else:
        path.write_bytes(text)
        (path.parent / data_name).write_bytes(data)
    return path


def write_nrrd(
    path: Path,
    stored: NDArray[Any],
    *,
    encoding: str = "raw",
    data_name: str | None = None,
    fields: dict[str, str] | None = None,
    pairs: dict[str, str] | None = None,
) -> Path:
    """An NRRD file of an array in C order."""
    names = {"u1": "uint8", "i1": "int8", "u2": "unsigned short", "i2": "short", "f4": "float", "f8": "double"}
    gzip = zlib.compressobj(wbits=31)
    data = stored.tobytes() if encoding == "raw" else gzip.compress(stored.tobytes()) + gzip.flush()
    header = {
        "type": names[stored.dtype.str[1:]],
        "dimension": str(stored.ndim),
        "sizes": " ".join(map(str, stored.shape[::-1])),
        "encoding": encoding,
        "endian": "big" if stored.dtype.byteorder == ">" else "little",
        **(fields or {}),
        **({"data file": data_name} if data_name else {}),
    }
    lines = [f"{key}: {value}\n" for key, value in header.items()]
    lines += [f"{key}:={value}\n" for key, value in (pairs or {}).items()]
    text = ("NRRD0005\n# made for a test\n" + "".join(lines) + "\n").encode()
    if data_name:
        path.write_bytes(text)
        (path.parent / data_name).write_bytes(data)
    else:
        path.write_bytes(text + data)
    return path


def frames_of(source: FrameSource) -> list[Frame]:
    """All frames of a source, which is closed afterwards."""
    with source:
        return list(source)


def frames_to_error(source: FrameSource) -> tuple[list[Frame], SourceError | None]:
    """The frames that a source delivers, and the error that ended them."""
    frames: list[Frame] = []
    with source:
        try:
            frames.extend(source)
        except SourceError as error:
            return frames, error
    return frames, None


def pictures_of(source: FrameSource) -> NDArray[np.uint8]:
    """The pictures of all frames, (count, height, width)."""
    return np.stack([frame.image for frame in frames_of(source)])
