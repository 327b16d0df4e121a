"""Lists the items of a data set before pixels are read."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from calibration.data.base import SPLITS
from calibration.errors import DataSetError
from stream.common.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_NAMES_SHOWN = 3


class ListedItem(Protocol):
    """One item of a data set."""

    @property
    def name(self) -> str: ...

    @property
    def split(self) -> str: ...


Item = TypeVar("Item", bound=ListedItem)


class Listing(Generic[Item]):
    """The items of a data set in their order, and its splits."""

    def __init__(self, path: Path, layout: str, items: Iterable[Item]) -> None:
        """Takes the items down.

        Args:
            path: of the data set, for messages.
            layout: as `open_dataset` names it.
            items: in the order in which they are to be read.

        Raises:
            DataSetError: there is no item, or two have one name.
        """
        self.path = path
        self._layout = layout
        self._items = list(items)
        if not self._items:
            raise DataSetError(f"{path}: holds no frames; give a data set that is unpacked and whole")
        odd = [name for name in (item.name for item in self._items) if not _is_text(name)]
        if odd:
            raise DataSetError(f"{path}: {shorten_names(map(ascii, odd))} is no text in UTF-8; rename the file")
        twice = [name for name, times in Counter(item.name for item in self._items).items() if times > 1]
        if twice:
            raise DataSetError(f"{path}: named more than once: {shorten_names(twice)}; rename or take away the doubles")

    @property
    def layout(self) -> str:
        return self._layout

    @property
    def splits(self) -> tuple[str, ...]:
        present = {item.split for item in self._items}
        return tuple(split for split in SPLITS if split in present)

    def items(self, split: str | None) -> list[Item]:
        """The items of a split, or all of them.

        Raises:
            DataSetError: the data set has no such split.
        """
        if split is None:
            return self._items
        if split not in self.splits:
            raise DataSetError(f"{self.path}: has no split '{split}'; it has {', '.join(self.splits) or 'none'}")
        return [item for item in self._items if item.split == split]


def _is_text(name: str) -> bool:
    """Whether a file's name can be written to a table."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shorten_names(names: Iterable[str]) -> str:
    """How many names there are and the first of them, for a message of one line: `5 (a, b, c, ...)`."""
    every = list(names)
    more = ", ..." if len(every) > _NAMES_SHOWN else ""
    return f"{len(every)} ({', '.join(every[:_NAMES_SHOWN])}{more})"


@contextmanager
def as_data_set_error() -> Iterator[None]:
    """Gives an error of a source or a mask, which names its file, the type that data sets raise."""
    try:
        yield
    except StreamError as error:
        raise DataSetError(str(error)) from error
