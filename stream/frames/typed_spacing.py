"""A pixel spacing typed by the user, valid for pictures of the size it was typed for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.frames.frame import PixelSpacing


class TypedSpacing:
    """The scale of each picture of a source where the user gave one.

    A source that changes its size or the shape of its pixels has another scale, which the user did not type; what it is
    when the first size comes back, nobody knows either.

    Args:
        spacing: mm per pixel as typed; None where nothing was.
    """

    def __init__(self, spacing: PixelSpacing | None) -> None:
        self._spacing = spacing
        self._of: tuple[tuple[int, ...], float | None] | None = None

    def for_picture(
        self, shape: tuple[int, ...], aspect: float | None, said: PixelSpacing | None
    ) -> PixelSpacing | None:
        """The scale of the next picture.

        Args:
            shape: (H, W) of it; the first one given is what the scale was typed for.
            aspect: width of its pixels over their height, where known.
            said: what the source itself says.
        """
        self._of = self._of or (shape, aspect)
        if (shape, aspect) != self._of:
            self._spacing = None
        return self._spacing or said
