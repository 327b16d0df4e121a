"""Pictures that are no ultrasound: text, plots, traces, desktops, noise; seeded.

What a capture card shows before the scanner is connected, and what somebody gives by mistake. Traces are what a scanner
itself shows beside its B-mode picture: spectral Doppler, and M-mode.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

SIZES = ((720, 1280), (1080, 1920), (768, 1024))


def page(seed: int, *, is_dark: bool = False) -> Picture:
    """Lines of text, black on white, or white on black."""
    rng = np.random.default_rng(seed)
    height, width = SIZES[seed % len(SIZES)]
    paper, ink = (20, 230) if is_dark else (245, 20)
    image = np.full((height, width), paper, np.uint8)
    y = 40
    while y < height - 20:
        x, scale = int(rng.integers(20, 80)), float(rng.uniform(0.4, 1.1))
        for _ in range(int(rng.integers(0, 9))):
            word = "".join(chr(code) for code in rng.integers(97, 123, int(rng.integers(2, 10))))
            cv2.putText(image, word, (x, y), int(rng.integers(0, 4)), scale, ink, 1 + (scale > 0.8), cv2.LINE_AA)
            x += len(word) * 18 + 12
            if x > width - 60:
                break
        y += int(36 * scale) + int(rng.integers(0, 14))
    return image


def plot(seed: int) -> Picture:
    """One to three diagrams: curves, points, bars, a map."""
    from matplotlib.figure import Figure

    rng = np.random.default_rng(seed)
    figure = Figure(figsize=(9, 6), dpi=100)
    for axes in np.ravel(figure.subplots(int(rng.integers(1, 4)), 1)):
        kind = int(rng.integers(0, 4))
        if kind == 0:
            axes.plot(np.cumsum(rng.normal(size=(400, 3)), axis=0))
        elif kind == 1:
            axes.scatter(*rng.normal(size=(2, 800)), s=4)
        elif kind == 2:
            axes.bar(range(12), rng.uniform(0, 9, 12))
        else:
            axes.imshow(np.cumsum(np.cumsum(rng.normal(size=(60, 60)), 0), 1), aspect="auto")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return np.asarray(cv2.imdecode(np.frombuffer(drawn.getvalue(), np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def clutter(seed: int) -> Picture:
    """Objects that cover each other, of all sizes, shaded and lit unevenly: the statistics of a photograph."""
    rng = np.random.default_rng(seed)
    height, width = SIZES[0]
    image = np.full((height, width), 128, np.uint8)
    for _ in range(700):
        radius = int(min(300, 4 / rng.uniform(0.01, 1) ** 0.9))
        centre = int(rng.integers(0, width)), int(rng.integers(0, height))
        axes = radius, max(2, int(radius * rng.uniform(0.2, 1)))
        angle, level = float(rng.uniform(0, 180)), int(rng.integers(5, 250))
        cv2.ellipse(image, centre, axes, angle, 0, 360, level, -1, cv2.LINE_AA)
    lit = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.6, 2))) + 0.25 * (clouds(seed).astype(np.float32) - 110)
    return np.clip(lit + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def clouds(seed: int) -> Picture:
    """Noise whose spectrum falls with frequency."""
    rng = np.random.default_rng(seed)
    height, width = SIZES[0]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(height, width))) / frequency ** rng.uniform(0.8, 1.5)
    field = np.asarray(np.real(np.fft.ifft2(spectrum)), np.float64)
    return np.asarray(np.clip(110 + 55 * (field - field.mean()) / field.std(), 0, 255), np.uint8)


def trace(seed: int) -> Picture:
    """Spectral Doppler over time on a black screen; every fourth one M-mode."""
    rng = np.random.default_rng(seed)
    height, width = SIZES[seed % len(SIZES)]
    left, right = int(0.08 * width), int(0.95 * width)
    top, bottom = (int(0.45 * height), int(0.92 * height)) if seed % 2 else (int(0.1 * height), int(0.9 * height))
    span, deep = right - left, bottom - top
    phase = np.arange(span) % (beat := rng.uniform(90, 200)) / beat
    image = np.zeros((height, width), np.float32)
    if seed % 4 == 2:
        layers = np.abs(rng.normal(60, 40, (deep, 1))) * (1 + 0.3 * rng.normal(size=(deep, span)))
        shifts = (8 * np.sin(2 * np.pi * phase)).astype(int)
        moved = np.stack([np.roll(layers[:, column], shifts[column]) for column in range(span)], axis=1)
        image[top:bottom, left:right] = cv2.GaussianBlur(moved.astype(np.float32), (0, 0), 1.5)
        return np.clip(image, 0, 255).astype(np.uint8)
    base = int(top + deep * rng.uniform(0.55, 0.8))
    flow = np.exp(-(((phase - 0.2) / 0.09) ** 2)) + 0.45 * np.exp(-(((phase - 0.55) / 0.16) ** 2)) + 0.08
    image[top:bottom, left:right] = rng.exponential(4, (deep, span))
    for column, high in enumerate(np.minimum(flow * (base - top) * rng.uniform(0.6, 0.95), base).astype(int)):
        image[base - high : base, left + column] = rng.exponential(70, high) * np.linspace(0.5, 1.2, high)
    drawn = np.clip(cv2.GaussianBlur(image, (0, 0), 0.8), 0, 255).astype(np.uint8)
    drawn[base] = 180
    for number in range(8):
        cv2.putText(drawn, f"{20 * number}", (right + 5, bottom - number * deep // 8), 0, 0.4, 200, 1)
    return drawn


def desktop(seed: int) -> Picture:
    """Windows with text in them, over each other."""
    rng = np.random.default_rng(seed)
    height, width = SIZES[1]
    plain = np.full((height, width), int(rng.integers(20, 90)), np.uint8)
    image = plain if seed % 2 else np.asarray(cv2.resize(clutter(seed), (width, height)), np.uint8)
    for _ in range(int(rng.integers(2, 5))):
        wide, high = int(rng.integers(400, 1100)), int(rng.integers(300, 700))
        x, y = int(rng.integers(0, width - wide)), int(rng.integers(0, height - high))
        image[y : y + high, x : x + wide] = int(rng.integers(30, 255))
        image[y : y + 28, x : x + wide] = int(rng.integers(60, 200))
        text = page(int(rng.integers(0, 999)), is_dark=bool(rng.integers(0, 2)))[: high - 40, : wide - 20]
        image[y + 34 : y + 34 + text.shape[0], x + 10 : x + 10 + text.shape[1]] = text
    return image


def monitor(seed: int) -> Picture:
    """Snow, colour bars, a ramp, or the curves of a patient monitor."""
    rng = np.random.default_rng(seed)
    height, width = SIZES[0]
    if seed % 4 == 0:
        return rng.integers(0, 255, (height, width)).astype(np.uint8)
    if seed % 4 == 1:
        bars = np.repeat(np.array([255, 226, 179, 150, 105, 76, 29, 16]), width // 8)
        return np.clip(bars + rng.normal(0, 3, (height, width)), 0, 255).astype(np.uint8)
    if seed % 4 == 2:
        return np.clip(np.linspace(0, 255, width) + rng.normal(0, 4, (height, width)), 0, 255).astype(np.uint8)
    image, x = np.zeros((height, width), np.uint8), np.arange(width)
    for number in range(4):
        base, beat = 120 + 150 * number, rng.uniform(120, 220)
        y = base - 70 * np.exp(-(((x % beat / beat - 0.3) / 0.02) ** 2)) + 8 * np.sin(x / 30)
        cv2.polylines(image, [np.stack([x, y], 1).astype(np.int32)], False, 220, 2)
        cv2.putText(image, str(int(rng.integers(40, 180))), (1120, base), 0, 2, 230, 3)
    return image


KINDS: Mapping[str, Callable[[int], Picture]] = {
    "text": page,
    "white text": lambda seed: page(seed, is_dark=True),
    "plot": plot,
    "clutter": clutter,
    "clouds": clouds,
    "trace": trace,
    "desktop": desktop,
    "monitor": monitor,
}
