"""`ward.toml`: what it says, and every wrong line of it refused with its place and its mend."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from stream.common.errors import OptionError
from stream.ward.config import changed_feeds, read_ward_config

if TYPE_CHECKING:
    from pathlib import Path

    from stream.ward.config import WardConfig

WHOLE = """
[feeds.room-1]
source = "rtsp://nurse:secret@10.0.0.7/live"
label = "Room 1"
spacing = [0.3, 0.25]
rate = 25

[feeds.room-2]
source = "igtl://127.0.0.1:18944/Image"
force = true

[analysis]
protocol = "fhps2023"

[limits]
deadline_ms = 80

[recording]
folder = "kept"
keep_hours = 5

[web]
host = "0.0.0.0"
allow-host = ["ward-pc"]

[tokens]
watch = ["0123456789abcdef"]
"""
FEED = '[feeds.a]\nsource = "rtsp://host/live"\n'


def read(folder: Path, text: str) -> WardConfig:
    path = folder / "ward.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return read_ward_config(path)


def test_a_file_says_feeds_and_what_is_made_of_them(tmp_path: Path) -> None:
    config = read(tmp_path, WHOLE)
    first, second = config.feeds.values()
    assert (first.name, first.label, first.rate_hz, first.force, first.is_live) == (
        "room-1",
        "Room 1",
        25.0,
        False,
        True,
    )
    assert first.options.source == "rtsp://nurse:secret@10.0.0.7/live"
    assert first.options.spacing is not None
    assert (first.options.spacing.x_mm, first.options.spacing.y_mm) == (0.3, 0.25)
    assert first.options.protocol == second.options.protocol == "fhps2023"
    assert (second.label, second.force, second.rate_hz) == ("room-2", True, 30.0)
    assert config.limits.deadline_ms == 80
    assert config.recording.folder == tmp_path / "kept"
    assert config.recording.keep_hours == 5
    assert (config.wall.host, config.wall.port, config.wall.allow_hosts) == ("0.0.0.0", 8400, ("ward-pc",))
    assert config.tokens.watch == ("0123456789abcdef",)
    assert not config.notices
    assert "rtsp://nurse:secret@10.0.0.7/live" in config.addresses
    assert "0123456789abcdef" in config.all_tokens


@pytest.mark.parametrize("label", ["Kreißsaal 3", "חדר 3", "\u06cc\u200c\u0632", "<b>&amp;</b>", "👩\u200d⚕️", "x" * 60])
def test_a_label_may_be_of_any_language(label: str, tmp_path: Path) -> None:
    assert read(tmp_path, f"{FEED}label = '{label}'\n").feeds["a"].label == label


@pytest.mark.parametrize("label", ["x" * 61, "two\\nlines", "\u202egnp.exe", "\u2066x"])
def test_a_label_turns_no_text_around_and_is_of_one_line(label: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="control characters"):
        read(tmp_path, f'{FEED}label = "{label}"\n')


def test_a_recording_is_played_in_a_loop_as_a_feed(tmp_path: Path) -> None:
    config = read(tmp_path, '[feeds.a]\nsource = "phantom:?seed=3"\n[feeds.b]\nsource = "phantom:"\npace = "asap"\n')
    assert [(feed.options.live, feed.options.loop, feed.options.pace) for feed in config.feeds.values()] == [
        (False, True, 1.0),
        (False, True, None),
    ]


def test_secrets_that_others_can_read_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ward.toml"
    path.write_text(WHOLE)
    path.chmod(0o644)
    assert "chmod 600" in read_ward_config(path).notices[0]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", None, "names no feed"),
        ("[feeds.a]\n", 1, 'has no source; write source = "'),
        ('[feeds.a]\nsource = ""\n', 1, "has no source"),
        ("[feeds.a]\nsource = 3\n", 2, "give a text in quotes"),
        ('[feeds.a]\nsorce = "rtsp://host/live"\n', 2, "Did you mean 'source'?"),
        ('[feeds.a]\nsource = "rtps://host/live"\n', 2, "Did you mean 'rtsps:'?"),
        ('[feeds.a]\nsource = "none.mp4"\n', 2, "no such file or folder"),
        ('[feeds.a]\nsource = "rtsp://host/live"\nrate = 0\n', 3, "not in the range"),
        ('[feeds.a]\nsource = "rtsp://host/live"\nsector = "12x"\n', 3, "sector"),
        (FEED + 'label = "two\\nlines"\n', 3, "line breaks"),
        ('[feeds.a]\nsource = "a\\nb"\n', 2, "line breaks"),
        (FEED + '[recording]\nfolder = "\\u0000"\n', 4, "control characters"),
        (FEED + "pictures = true\n", 3, "has no option 'pictures'"),
        (FEED + FEED.replace("feeds.a", "feeds.A"), 3, "would share a folder"),
        ('[feeds."a b"]\nsource = "rtsp://host/live"\n', None, "a name has letters, digits"),
        (FEED.replace("feeds.a", "feeds.engine"), 1, "take another name"),
        ('[feeds]\na = "rtsp://host/live"\n', 2, "[feeds.a]"),
        ('[[feeds]]\nsource = "rtsp://host/live"\n', 1, "write [feeds.NAME]"),
        ("[feed.a]\n", 1, "Did you mean 'feeds'?"),
        (FEED + '[analysis]\nprotcol = "robust"\n', 4, "Did you mean 'protocol'?"),
        (FEED + '[recording]\nkeep_hours = "3"\n', 4, "give a number, without quotes"),
        (FEED + "[recording]\nkeep_gb = nan\n", 4, "keep_gb"),
        (FEED + "[limits]\nstuck = 0\n", 4, "not in the range"),
        (FEED + "[web]\nport = 70000\n", 4, "not in the range"),
        (FEED + '[web]\ntls_key = "key.pem"\n', 3, "give the certificate too"),
        (FEED + '[tokens]\nwatch = ["short"]\n', 4, "openssl rand"),
        (FEED + '[tokens]\nwatch = "0123456789abcdef"\n', 4, "give a list"),
        (FEED + '[tokens]\nwatch = ["0123456789abcdef"]\nmark = ["0123456789abcdef"]\n', 5, "one token has one role"),
        ("[feeds.a\n", None, "is no TOML"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place(text: str, line: int | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=re.escape(said)) as refused:
        read(tmp_path, text)
    assert str(refused.value).startswith(f"{tmp_path / 'ward.toml'}{'' if line is None else f':{line}'}")
    assert "\n" not in str(refused.value)


def test_a_wrong_address_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as refused:
        read(tmp_path, '[feeds.a]\nsource = "rtps://nurse:secret@host/live"\n')
    assert "secret" not in str(refused.value)


def test_a_reload_changes_what_is_measured_otherwise_and_nothing_else(tmp_path: Path) -> None:
    before = read(tmp_path, WHOLE)
    assert changed_feeds(before, read(tmp_path, WHOLE)) == set()
    assert changed_feeds(before, read(tmp_path, WHOLE.replace("Room 1", "Room one"))) == set()
    assert changed_feeds(before, read(tmp_path, WHOLE.replace("10.0.0.7", "10.0.0.8"))) == {"room-1"}
    assert changed_feeds(before, read(tmp_path, WHOLE.replace("[0.3, 0.25]", "[0.3, 0.3]"))) == {"room-1"}
    assert changed_feeds(before, read(tmp_path, WHOLE.replace("room-2", "room-3"))) == {"room-2", "room-3"}
    assert changed_feeds(before, read(tmp_path, WHOLE.replace("fhps2023", "robust"))) == {"room-1", "room-2"}
    assert changed_feeds(before, read(tmp_path, WHOLE.replace("keep_hours = 5", "keep_hours = 6"))) == set()
    assert changed_feeds(before, read(tmp_path, WHOLE.replace('"kept"', '"other"'))) == {"room-1", "room-2"}
