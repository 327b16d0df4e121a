"""Cross-validation results as Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calibration.learning.folds import FOLDS, KINDS
from calibration.studies.common import markdown_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ONE_FOLD = "With one fold, weights of fusion, gate and doubts are fitted on the frames that they are judged on."
AXES = ("axis of the mask", "axis of the second look", "axis of both")


def cross_validation_markdown(content: Mapping[str, Any]) -> str:
    """Markdown of what `calibration.studies.cross_validation` found."""
    axes = [name for name in AXES if name in content]
    parts = [_head(content), _errors(content, axes), _replaced(content, axes), _masks(content), _protocols(content)]
    parts += [_gate(content["gate"])]
    if "quality" in content:
        parts.append(_quality(content))
    if "absolute interval" in content:
        parts.append(_absolute(content["absolute interval"]))
    return "\n".join(parts)


def _head(content: Mapping[str, Any]) -> str:
    runs = content["epochs"].items()
    done = ", ".join(f"{name} {each['done']} of {each['planned']}" for name, each in runs if each["done"])
    folds = ", ".join(map(str, content["folds"]))
    alone = f" {ONE_FOLD}" if len(content["folds"]) == 1 else ""
    return (
        f"Out-of-fold figures of folds {folds} of {FOLDS}: {content['frames']} frames in {content['groups']} groups."
        f" Epochs trained: {done}.{alone}{_recipes(content)}\n"
    )


def _recipes(content: Mapping[str, Any]) -> str:
    """Which folds were not trained by one configuration; empty where all were."""
    words = []
    for kind in KINDS:
        recipes: dict[str, list[str]] = {}
        for name, each in content["epochs"].items():
            if name.startswith(kind) and each["done"]:
                recipes.setdefault(each["recipe"], []).append(name)
        if len(recipes) > 1:
            words.append("; ".join(f"configuration {recipe}: {', '.join(names)}" for recipe, names in recipes.items()))
    return f" **Not all by one configuration** ({'; '.join(words)})." if words else ""


def _errors(content: Mapping[str, Any], axes: Sequence[str]) -> str:
    errors = [content[axis]["errors"] for axis in axes]
    rows = [[part, *(_error_cell(each[part]) for each in errors)] for part in errors[0]]
    title = (
        "AoP error by `fhps2023`, degrees: mean (95 % interval over groups) / median / p95, bias; frames measured.\n"
    )
    return f"{title}\n{markdown_table(['drawn AoP', *axes], rows)}"


def _replaced(content: Mapping[str, Any], axes: Sequence[str]) -> str:
    left = [content[axis]["drawn instead"] for axis in axes]
    rows = [[part, *(f"{each[part]:.1f}" for each in left)] for part in left[0]]
    title = "Mean AoP error left where parts are replaced by the drawn ones, degrees:\n"
    return f"{title}\n{markdown_table(['drawn instead', *axes], rows)}"


def _masks(content: Mapping[str, Any]) -> str:
    scores = ("dice", "asd_px", "hd_px")
    rows = [[name, *(f"{value[score]:.3f}" for score in scores)] for name, value in content["masks"].items()]
    return markdown_table(["masks, at 256 x 256", "Dice", "ASD, px", "HD, px"], rows)


def _protocols(content: Mapping[str, Any]) -> str:
    tables = [content[title] for title in ("protocols, masks", "protocols, joint axis") if title in content]
    rows = [[name, *(_error_cell(table[name]) for table in tables)] for name in tables[0]]
    return markdown_table(["AoP by", "masks", "joint axis"][: len(tables) + 1], rows)


def _gate(gate: Mapping[str, Any]) -> str:
    rows = [
        [name, str(value["frames"]), f"{100 * value['pass']:.1f} %", f"{100 * value['pass and measured']:.1f} %"]
        for name, value in gate.items()
        if isinstance(value, dict)
    ]
    areas = "; ".join(f"{name} {value:.3f}" for name, value in gate.items() if isinstance(value, float))
    return f"{markdown_table(['plane gate', 'frames', 'pass', 'pass and are measured'], rows)}\n{areas}.\n"


def _quality(content: Mapping[str, Any]) -> str:
    rows = [[name, *(f"{number:.2f}" for number in value.values())] for name, value in content["quality"].items()]
    header = ["doubt", *next(iter(content["quality"].values()))]
    share = ", ".join(f"{name} {value:.2f}" for name, value in content["fusion"].items())
    title = "AoP error of the joint axis, degrees, of frames sorted by a doubt:\n"
    table = markdown_table(header, rows)
    return f"{title}\n{table}\nShare of the second look in the joint axis, and its bias: {share}.\n"


def _absolute(tables: Mapping[str, Any]) -> str:
    rows = [[part, *(_inside_cell(table[part]) for table in tables.values())] for part in next(iter(tables.values()))]
    title = (
        "Frames whose drawn AoP lies in the absolute 95 % interval fitted on the other folds (95 % interval of that"
        " share over groups), and half its mean width, degrees; frames, groups. The last row: pairs of frames of one"
        " group whose AoP differs by as much as in a push; their difference, within the intervals of both as if they"
        " shared no error.\n"
    )
    return f"{title}\n{markdown_table(['AoP', *tables], rows)}"


def _inside_cell(figures: Mapping[str, Any]) -> str:
    if not figures["frames"]:
        return "none"
    around = "({:.1f} to {:.1f})".format(*(100 * end for end in figures["interval"])) if figures["interval"] else ""
    return (
        f"{100 * figures['inside']:.1f} % {around}, {figures['half_deg']:.1f}; {figures['frames']}, {figures['groups']}"
    )


def _error_cell(figures: Mapping[str, Any]) -> str:
    if not figures.get("measured"):
        return f"none of {figures['frames']}"
    interval = figures["interval"]
    around = f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""
    return (
        f"{figures['mean']:.1f}{around} / {figures['median']:.1f} / {figures['p95']:.1f}, {figures['bias']:+.1f};"
        f" {figures['measured']} of {figures['frames']}"
    )
