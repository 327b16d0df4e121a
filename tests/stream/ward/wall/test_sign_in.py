"""Who may look at a ward: real requests to its server, with tokens of each role, wrong ones, and none."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed

from stream.common.errors import OptionError
from stream.outputs.web.broadcast import unpack_message
from stream.ward.config import read_ward_config
from stream.ward.wall.roles import COOKIE, MOST_WRONG
from stream.ward.wall.settings import WallSettings
from tests.fakes.certificates import make_certificate
from tests.fakes.ward.asked import ask, line, line_status
from tests.fakes.ward.shown import MARK, METRICS, PAGE_TOKEN, TOKENS, WATCH, shown_ward, ward_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stream.ward.wall.server import WallServer
    from tests.fakes.ward.asked import Answer
    from tests.fakes.ward.shown import FakeWard

Shown = tuple["WallServer", "FakeWard"]
PAGES = ("/", "/feeds/room-1/", "/metrics", "/nothing", "/feeds/none/")
LINES = ("/wall", "/feeds/room-1/stream")


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    with shown_ward(tmp_path, ["room-1", "room-2"]) as ward:
        yield ward


def until_feeds_are_known(server: WallServer) -> None:
    give_up = time.monotonic() + 10
    while len(server.wall.tiles.names()) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("token", "pages", "lines"),
    [
        (WATCH, (200, 200, 200, 404, 404), 101),
        (MARK, (200, 200, 200, 404, 404), 101),
        (METRICS, (403, 403, 200, 403, 403), 403),
        ("", (401, 401, 401, 401, 401), 401),
        ("x" * 16, (401, 401, 401, 401, 401), 401),
    ],
)
def test_a_token_opens_what_its_role_may(shown: Shown, token: str, pages: tuple[int, ...], lines: int) -> None:
    until_feeds_are_known(shown[0])
    assert tuple(ask(shown[0], path, token=token).status for path in PAGES) == pages
    assert {line_status(shown[0], path, token=token) for path in LINES} == {lines}
    for path in ("/healthz", "/static/wall.js", "/static/style.css"):
        assert ask(shown[0], path, token=token).status == 200


def test_a_token_in_the_address_is_gone_after_first_use(shown: Shown) -> None:
    first = ask(shown[0], f"/feeds/room-1/?flip=1&token={quote(WATCH)}")
    assert (first.status, first.headers["location"]) == (303, "/feeds/room-1/?flip=1")
    said = first.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "secure" not in said  # over plain HTTP a browser would not send it back
    assert WATCH not in str(first)
    assert first.cookie.startswith(f"{COOKIE}=")
    assert ask(shown[0], "/", cookie=first.cookie).status == 200
    assert {line_status(shown[0], path, cookie=first.cookie) for path in LINES} == {101}
    assert ask(shown[0], f"//evil.example/?token={WATCH}").headers["location"] == "/evil.example/"
    assert ask(shown[0], f"/metrics?token={METRICS}").status == 200
    assert ask(shown[0], f"/?token={METRICS}").status == 403


def test_the_form_signs_in_and_says_what_is_wrong(shown: Shown) -> None:
    server = shown[0]
    own = f"http://127.0.0.1:{server._port}"
    page = ask(server, "/", Accept="text/html")
    assert (page.status, "Research use only".lower() in page.body.lower()) == (401, True)
    assert "needs a token" in page.body
    assert "form-action 'self'" in page.headers["content-security-policy"]
    right = ask(server, "/sign-in", method="POST", body=f"token={MARK}", Origin=own)
    assert (right.status, right.headers["location"]) == (303, "/")
    assert ask(server, "/", cookie=right.cookie).status == 200
    for wrong in ("token=nonsense", "", "token=", "tok=" + MARK, "token=" + "x" * 9000, "token=%ff", "&" * 100):
        answer = ask(server, "/sign-in", method="POST", body=wrong, Origin=own)
        assert (answer.status, "not one of this ward" in answer.body) == (401, True)
    assert ask(server, "/sign-in", method="POST", body=f"token={METRICS}", Origin=own).status == 403
    assert ask(server, "/sign-in", method="POST", body=f"token={MARK}", Origin="http://evil.example").status == 403


def test_cookies_that_are_not_ours_are_refused_in_words(shown: Shown) -> None:
    for cookie in (f"{COOKIE}=", f"{COOKIE}=1.2", f"{COOKIE}={WATCH}", "other=1", "=;=;", f'{COOKIE}="', "\xff=\xff"):
        answer = ask(shown[0], "/", cookie=cookie)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert len(answer.body.strip().splitlines()) == 1
    assert "signed out" in ask(shown[0], "/", cookie=f"{COOKIE}=1.2").body


def test_pages_of_other_sites_reach_nothing_even_with_the_cookie(shown: Shown) -> None:
    cookie = ask(shown[0], f"/?token={WATCH}").cookie
    assert {line_status(shown[0], path, cookie=cookie, origin="http://evil.example") for path in LINES} == {403}
    assert ask(shown[0], "/metrics", cookie=cookie, Origin="http://evil.example").status == 403
    assert ask(shown[0], "/", cookie=cookie, Host="evil.example").status == 403


def test_too_many_wrong_tokens_are_answered_by_429_and_signed_in_viewers_go_on(shown: Shown) -> None:
    server = shown[0]
    cookie = ask(server, f"/?token={WATCH}").cookie
    statuses = [ask(server, f"/?token={number:016}").status for number in range(MOST_WRONG + 3)]
    assert statuses == [401] * MOST_WRONG + [429] * 3
    late = ask(server, "/", token=WATCH)  # even the right one, or the limit would be none
    assert late.status == 429
    assert 0 < int(late.headers["retry-after"]) <= 60
    assert "Try again in" in late.body
    assert ask(server, "/", cookie=cookie).status == 200


def test_no_token_reaches_a_log_or_an_answer(shown: Shown, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [ask(shown[0], path, token=token) for path in PAGES for token in (WATCH, MARK, METRICS)]
    answers += [ask(shown[0], f"{path}?token={WATCH}x") for path in PAGES]
    said = caplog.text + "".join(map(str, answers))
    assert not [token for token in (WATCH, MARK, METRICS, PAGE_TOKEN) if token in said]


def test_only_who_may_mark_can_set_marks(shown: Shown) -> None:
    server, ward = shown
    until_feeds_are_known(server)
    board = ward.feeds[0].board
    for token, may_mark in ((WATCH, False), (MARK, True)):
        with line(server, "/feeds/room-1/stream", token=token) as viewer:
            hello, _ = unpack_message(viewer.recv(timeout=10))  # type: ignore[arg-type]
            assert (hello["may_mark"], hello["ward"]) == (may_mark, "Room 1")
            viewer.send(json.dumps({"mark": "mark", "id": token}))
            give_up = time.monotonic() + (10 if may_mark else 0.3)
            while not board.mark_answers and time.monotonic() < give_up:
                viewer.recv(timeout=10)
        assert board.mark_answers.keys() == ({token} if may_mark else set())


def test_a_token_taken_out_of_the_configuration_ends_what_it_opened(tmp_path: Path) -> None:
    with shown_ward(tmp_path, ["room-1", "room-2"]) as (server, _), ExitStack() as stack:
        until_feeds_are_known(server)
        cookie = ask(server, f"/?token={WATCH}").cookie
        viewers = [stack.enter_context(line(server, path, cookie=cookie)) for path in LINES]
        other = stack.enter_context(line(server, "/wall", token=MARK))
        config = read_ward_config(ward_file(tmp_path, ["room-1"], more=TOKENS.replace(WATCH, "y" * 20)))
        server.reload(WallSettings.checked(config))
        for viewer in viewers:
            with pytest.raises(ConnectionClosed, match="not one of this ward any more"):
                deque(viewer, maxlen=0)
        assert ask(server, "/", cookie=cookie).status == 401
        assert ask(server, "/", token=WATCH).status == 401
        assert ask(server, "/", token="y" * 20).status == 200
        assert other.recv(timeout=10)


def test_without_tokens_only_this_machine_is_served_and_may_do_all(tmp_path: Path) -> None:
    with shown_ward(tmp_path, ["room-1", "room-2"], more="") as (server, _):
        assert server.address.endswith("/")
        assert [ask(server, path).status for path in ("/", "/metrics")] == [200, 200]
    config = read_ward_config(ward_file(tmp_path, ["a"]))
    elsewhere = replace(config, wall=replace(config.wall, host="0.0.0.0"))
    with pytest.raises(OptionError, match=r"\[tokens\] names nobody who may look"):
        WallSettings.checked(elsewhere)
    only_metrics = read_ward_config(ward_file(tmp_path, ["a"], more=f'[tokens]\nmetrics = ["{METRICS}"]'))
    with pytest.raises(OptionError, match="watch = "):
        WallSettings.checked(only_metrics)


def test_metrics_can_be_open_or_off(tmp_path: Path) -> None:
    with shown_ward(tmp_path, ["a"], more=TOKENS + "[metrics]\nneeds_token = false\n") as (server, _):
        assert [ask(server, path).status for path in ("/metrics", "/", "/metricsx")] == [200, 401, 401]
    with shown_ward(tmp_path, ["a"], more=TOKENS + "[metrics]\nserve = false\n") as (server, _):
        assert ask(server, "/metrics", token=METRICS).status == 404


def test_over_tls_the_cookie_is_secure_and_a_renewed_certificate_is_taken(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    tls = f'tls_cert = "{tmp_path}/cert.pem"\ntls_key = "{tmp_path}/key.pem"\n'
    with shown_ward(tmp_path, ["a", "b"], more=tls + TOKENS) as (server, ward):
        assert server.address.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        first = ask(server, f"/?token={WATCH}", tls=trusting)
        assert "; secure" in first.headers["set-cookie"].lower()
        until_feeds_are_known(server)
        with line(server, "/wall", cookie=first.cookie, tls=trusting) as viewer:
            assert viewer.recv(timeout=10)
        assert "certificate_expiry" in ask(server, "/metrics", token=METRICS, tls=trusting).body
        make_certificate(tmp_path)  # renewed, as a machine does it every few weeks
        server.reload(WallSettings.checked(ward.config))
        renewed = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        assert until_trusted(server, renewed).status == 200


def until_trusted(server: WallServer, trusting: ssl.SSLContext) -> Answer:
    give_up = time.monotonic() + 10
    while True:
        try:
            return ask(server, "/healthz", tls=trusting)
        except ssl.SSLCertVerificationError:
            assert time.monotonic() < give_up
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("cert.pem", "other.pem", "other.pem: is not the key of"),
        ("text.pem", "key.pem", "holds no certificate"),
        ("old/cert.pem", "old/key.pem", "has expired; renew it, or make a new pair: openssl req"),
    ],
)
def test_a_wrong_pair_is_one_clear_error_that_names_the_key_of_the_file(
    tmp_path: Path, certificate: str, key: str, said: str
) -> None:
    make_certificate(tmp_path)
    (tmp_path / "old").mkdir()
    make_certificate(tmp_path / "old", days=(-9, -1))
    tls = f'tls_cert = "{tmp_path / certificate}"\ntls_key = "{tmp_path / key}"\n'
    with pytest.raises(OptionError, match=r"ward.toml: \[web\] tls_") as caught:
        WallSettings.checked(read_ward_config(ward_file(tmp_path, ["a"], more=tls)))
    assert said in str(caught.value)
