"""The channel's promises: order, exact counts, and ends that free whoever waits."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.common.channel import Channel, ChannelClosed, Overflow


def test_items_arrive_in_order_and_the_loop_ends_after_close() -> None:
    channel: Channel[int] = Channel(3)
    for item in range(3):
        channel.send(item)
    channel.close()
    assert list(channel) == [0, 1, 2]


def test_a_full_blocking_channel_makes_the_sender_wait_and_loses_nothing() -> None:
    channel: Channel[int] = Channel(2)

    def send() -> None:
        for item in range(200):
            channel.send(item)
        channel.close()

    sender = threading.Thread(target=send)
    sender.start()
    received = list(channel)
    sender.join()
    assert received == list(range(200))
    assert channel.stats.dropped == 0
    assert channel.stats.peak_depth <= 2


def test_drop_oldest_keeps_the_freshest_and_tells_of_each_loss_in_order() -> None:
    lost: list[int] = []
    channel = Channel[int](2, overflow=Overflow.DROP_OLDEST, on_drop=lost.append)
    for item in range(5):
        channel.send(item)
    channel.close()
    assert list(channel) == [3, 4]
    assert lost == [0, 1, 2]
    assert channel.stats.dropped == 3


def test_cancel_frees_a_waiting_sender() -> None:
    channel: Channel[int] = Channel(1)
    channel.send(0)
    ended = threading.Event()

    def send() -> None:
        with pytest.raises(ChannelClosed):
            channel.send(1)
        ended.set()

    sender = threading.Thread(target=send)
    sender.start()
    channel.cancel()
    sender.join(5)
    assert ended.is_set()


def test_cancel_frees_a_waiting_receiver() -> None:
    channel: Channel[int] = Channel(1)
    received: list[int] = []
    receiver = threading.Thread(target=lambda: received.extend(channel))
    receiver.start()
    channel.cancel()
    receiver.join(5)
    assert not receiver.is_alive()
    assert received == []


def test_sending_after_close_is_refused() -> None:
    channel: Channel[int] = Channel(1)
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.send(0)


def test_a_channel_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity 0"):
        Channel(0)


@settings(deadline=None, max_examples=60)
@given(
    capacity=st.integers(1, 4),
    actions=st.lists(st.sampled_from(["send", "receive"]), max_size=40),
    cancel=st.booleans(),
)
def test_counts_balance_after_every_action(capacity: int, actions: list[str], cancel: bool) -> None:
    channel = Channel[int](capacity, overflow=Overflow.DROP_OLDEST)
    items = iter(channel)
    for number, action in enumerate(actions):
        if action == "send":
            channel.send(number)
        elif channel.stats.depth:
            next(items)
        stats = channel.stats
        assert stats.sent == stats.received + stats.dropped + stats.depth
    if cancel:
        channel.cancel()
    stats = channel.stats
    assert stats.sent == stats.received + stats.dropped + stats.depth
