"""Draws docs/architecture.svg: the rooms of the code and what they import.

    python docs/scripts/architecture.py            # write
    python docs/scripts/architecture.py --check    # exit code 1 if the picture is not current

A room is a folder one level below a floor (`stream/sources`), or the modules that lie directly on a floor; those of
`engines` are two rooms, what lies above its folders in the layers of import-linter, and what lies below. Floors are
bands, a room lies below all rooms that import it, and an arrow that follows from two others is left out. An import that
import-linter exempts from its layers is a dotted arrow.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = REPOSITORY / "docs" / "architecture.svg"
FLOORS = ("benchmarks", "calibration", "stream", "engines")
"""From above; a floor imports those below it."""

Rooms = dict[str, set[str]]
"""Room: the rooms that it imports."""

BOX_H, GAP_X, GAP_Y, MARGIN, BAND_PAD, LABEL_W = 30, 18, 46, 12, 16, 96
LETTER_W = 7.2
"""Width of a letter at the size that rooms are written in, px."""
COLOURS = {"benchmarks": "#e8d5f0", "calibration": "#d5e8d4", "stream": "#dae8fc", "engines": "#ffe6cc"}


@dataclass(frozen=True)
class Box:
    """Where a room is drawn, px."""

    left: float
    top: float
    width: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


def room_of(module: str) -> str:
    """`stream.sources.wrappers` lies in `stream.sources`, `benchmarks.errors` in `benchmarks`."""
    parts = module.split(".")
    if len(parts) > 1 and _is_folder(".".join(parts[:2])):
        return ".".join(parts[:2])
    if parts[0] == "engines":
        return "engines.(selection)" if module in _above_folders("engines") else "engines.(base)"
    return parts[0]


def _is_folder(module: str) -> bool:
    return REPOSITORY.joinpath(*module.split(".")).is_dir()


@cache
def _layer_contracts() -> list[dict[str, list[str]]]:
    """The layers that import-linter holds the code to."""
    tools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    return [contract for contract in tools["importlinter"]["contracts"] if contract["type"] == "layers"]


@cache
def _above_folders(floor: str) -> set[str]:
    """The modules directly on a floor that lie above all its folders, and the floor's own."""
    above = {floor}
    for contract in _layer_contracts():
        if contract["layers"][0].startswith(f"{floor}."):
            for layer in contract["layers"]:
                modules = layer.split(" | ")
                if any(map(_is_folder, modules)):
                    break
                above.update(modules)
    return above


def exempted() -> set[tuple[str, str]]:
    """The imports of modules that the layers make an exception for."""
    pairs = (pair.split(" -> ") for contract in _layer_contracts() for pair in contract.get("ignore_imports", ()))
    return {(module, imported) for module, imported in pairs}


def floor_of(room: str) -> str:
    return room.partition(".")[0]


def rooms() -> Rooms:
    """All rooms, by the imports of their modules; without those that are exempted."""
    sys.path.insert(0, str(REPOSITORY))
    graph = grimp.build_graph(*FLOORS, cache_dir=None)
    found: Rooms = {room_of(module): set() for module in sorted(graph.modules)}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if room_of(imported) != room_of(module) and (module, imported) not in exempted():
                found[room_of(module)].add(room_of(imported))
    return {room: imported for room, imported in found.items() if imported or any(room in of for of in found.values())}


def reached(rooms: Rooms, start: str) -> set[str]:
    """The rooms that can be reached from one by imports."""
    waiting, seen = list(rooms[start]), set()
    while waiting:
        room = waiting.pop()
        if room not in seen:
            seen.add(room)
            waiting += rooms[room]
    return seen


def reduced(rooms: Rooms) -> list[tuple[str, str]]:
    """The imports that do not follow from others. Rooms that import each other count as one, and keep their arrows."""
    below = {room: reached(rooms, room) for room in rooms}
    circle = {room: {room} | {other for other in below[room] if room in below[other]} for room in rooms}

    def follows(room: str, imported: str) -> bool:
        others = {other for member in circle[room] for other in rooms[member]} - circle[room] - circle[imported]
        return imported not in circle[room] and any(imported in below[other] for other in others)

    return sorted((room, imported) for room, of in rooms.items() for imported in of if not follows(room, imported))


def levels(rooms: Rooms, floor: str) -> list[list[str]]:
    """The rooms of a floor in rows, from above: each below those of the floor that import it."""
    own = [room for room in rooms if floor_of(room) == floor]
    level = dict.fromkeys(own, 0)
    for _ in own:  # the longest way, at most as many steps as rooms; circles end with it
        for room in own:
            for imported in rooms[room]:
                if imported in level and room not in reached(rooms, imported):
                    level[imported] = max(level[imported], level[room] + 1)
    imported_here = {imported for room in own for imported in rooms[room]}
    for room in own:  # one that nobody on its floor imports lies just above what it imports
        below = [level[imported] for imported in rooms[room] if imported in level]
        if room not in imported_here and below:
            level[room] = max(level[room], min(below) - 1)
    rows = defaultdict(list)
    for room in sorted(own):
        rows[level[room]].append(room)
    return [rows[number] for number in sorted(rows)]


def sorted_rows(rows: list[list[str]], arrows: list[tuple[str, str]]) -> list[list[str]]:
    """Rows with each room near those that it has arrows to or from, so that fewer of them cross."""
    rows = [list(row) for row in rows]
    for sweep in range(8):
        place = {room: (number + 0.5) / len(row) for row in rows for number, room in enumerate(row)}
        for row in rows if sweep % 2 else reversed(rows):
            at = {room: _mean_place(room, arrows, place) for room in row}
            row.sort(key=lambda room: (at[room], room))
    return rows


def _mean_place(room: str, arrows: list[tuple[str, str]], place: dict[str, float]) -> float:
    near = [place[other] for pair in arrows if room in pair for other in pair if other != room]
    return sum(near) / len(near) if near else place[room]


def placed(rows: list[list[str]]) -> tuple[dict[str, Box], float]:
    """Boxes of all rooms, and the width of the picture."""
    widths = {room: LETTER_W * len(title(room)) + 20 for row in rows for room in row}
    widest = max(sum(widths[room] + GAP_X for room in row) for row in rows)
    boxes, top = {}, float(MARGIN + BAND_PAD)
    for row, following in pairwise([*rows, []]):
        spare = (widest - sum(widths[room] for room in row)) / (len(row) + 1)
        left = LABEL_W + spare
        for room in row:
            boxes[room] = Box(left, top, widths[room])
            left += widths[room] + spare
        ends_band = following and floor_of(following[0]) != floor_of(row[0])
        top += BOX_H + GAP_Y + (BAND_PAD if ends_band else 0)
    return boxes, LABEL_W + widest + MARGIN


def title(room: str) -> str:
    floor, _, folder = room.partition(".")
    return folder or f"({floor})"


def drawn() -> str:
    """The picture."""
    found = rooms()
    arrows = reduced(found)
    rows = sorted_rows([row for floor in FLOORS for row in levels(found, floor)], arrows)
    boxes, width = placed(rows)
    height = max(box.top for box in boxes.values()) + BOX_H + BAND_PAD + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="sans-serif" font-size="13" role="img">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#555"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
        *(_band(floor, boxes, width) for floor in FLOORS),
        *(
            _arrow(boxes[room], boxes[imported], is_far=floor_of(room) != floor_of(imported))
            for room, imported in arrows
        ),
        *(
            _arrow(boxes[room_of(module)], boxes[room_of(imported)], is_far=False, is_dotted=True)
            for module, imported in sorted(exempted())
        ),
        *(_box(room, box) for room, box in boxes.items()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _band(floor: str, boxes: dict[str, Box], width: float) -> str:
    tops = [box.top for room, box in boxes.items() if floor_of(room) == floor]
    top, height = min(tops) - BAND_PAD, max(tops) - min(tops) + BOX_H + 2 * BAND_PAD
    return (
        f'<rect x="{MARGIN / 2:.0f}" y="{top:.0f}" width="{width - MARGIN:.0f}" height="{height:.0f}" rx="6" '
        f'fill="{COLOURS[floor]}" fill-opacity="0.45"/>'
        f'<text x="{MARGIN:.0f}" y="{top + 20:.0f}" font-weight="bold" fill="#333">{floor}</text>'
    )


def _box(room: str, box: Box) -> str:
    return (
        f'<rect x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" height="{BOX_H}" rx="4" fill="#fff" '
        f'stroke="#555"/><text x="{box.middle:.1f}" y="{box.top + 20:.1f}" text-anchor="middle" '
        f'fill="#111">{escape(title(room))}</text>'
    )


def _arrow(start: Box, end: Box, *, is_far: bool, is_dotted: bool = False) -> str:
    """An arrow from room to room; one to another floor is pale."""
    down = start.top < end.top
    y1, y2 = (start.top + BOX_H, end.top) if down else (start.top, end.top + BOX_H)
    if start.top == end.top:
        y1 = y2 = start.top + BOX_H
    dots = ' stroke-dasharray="2 4"' if is_dotted else ""
    x1, x2 = (box.middle + (14 if is_dotted else 0) for box in (start, end))  # beside the arrow that goes the other way
    bend = 0.5 * max(abs(y2 - y1), GAP_Y) * (1 if y1 <= y2 else -1)
    return (
        f'<path d="M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} '
        f'{y2 - (bend if y1 != y2 else -bend):.1f} {x2:.1f} {y2:.1f}" fill="none" stroke="#555" '
        f'stroke-opacity="{0.3 if is_far else 0.8}"{dots} marker-end="url(#tip)"/>'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if it is not current")
    if not parser.parse_args().check:
        PICTURE.write_text(drawn(), encoding="utf-8")
    elif not PICTURE.exists() or PICTURE.read_text(encoding="utf-8") != drawn():
        sys.exit("docs/architecture.svg is not current; run python docs/scripts/architecture.py")


if __name__ == "__main__":
    main()
