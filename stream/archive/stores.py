"""Sees that an object store has stopped answering: then each input left would fail, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.archive.locations import Location
from stream.common.errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable


class StoreWatch:
    """The stores of a run that answered at its start; a bucket that does not let itself be asked is left alone.

    Args:
        uris: of inputs and dataset; paths of this machine are passed over.
    """

    def __init__(self, uris: Iterable[str]) -> None:
        stores = {location.store for location in map(Location.parse, uris) if location.store}
        self._stores = [store for store in sorted(stores) if _why_silent(store) is None]

    def check(self) -> None:
        """Asks each store.

        Raises:
            SourceUnavailable: one that answered at the start does not any more, or takes the credentials no longer.
        """
        for store in self._stores:
            if (why := _why_silent(store)) is not None:
                raise SourceUnavailable(f"{why}; then go on with --resume")


def _why_silent(store: str) -> str | None:
    try:
        Location(store, "").exists()
    except SourceUnavailable as error:
        return str(error)
    return None
