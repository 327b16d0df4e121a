"""What somebody writes who has installed the package; mypy reads it from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import partum

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def angles(recording: Path) -> list[float]:
    """AoP of every frame that was measured."""
    result: partum.ReplayResult = partum.replay(recording, protocol="robust")
    figure = result.plot(title="AoP")
    figure.savefig("aop.png")
    return [aop for record in result if isinstance(aop := record["aop_deg"], float)]


def still(picture: NDArray[np.uint8]) -> float | None:
    """AoP of one picture."""
    with partum.load_engine(backend="openvino") as engine:
        prediction: partum.Prediction = engine.predict(picture)
        assert prediction.plane_probability.dtype == np.float32
        measurement = partum.measure(picture, engine=engine, spacing=partum.PixelSpacing(0.2, 0.2))
    if measurement.state is not partum.FrameState.MEASURED:
        reason: partum.Reason | None = measurement.reason
        print(reason)
        return None
    return measurement.biometry.aop_deg if measurement.biometry else None


def live(address: str) -> None:
    """AoP as it comes."""
    try:
        with partum.Pipeline(partum.open_live(address), partum.load_engine()) as pipeline:
            for measurement in pipeline:
                aop = measurement.aop.value if measurement.aop else float("nan")
                print(f"{measurement.frame.pts_s:.2f} {aop:.1f}")
    except partum.PartumError as error:
        print(error)
