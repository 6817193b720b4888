from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from inngest_realtime_core import ConfigurationError, Grant, Message, allow_anyone
from inngest_realtime_core.subscriptions.fragments import Fragments
from wire import message_of


def message(data: object, id: str | None = "a.b") -> Message[Any]:
    return Message(message_of(data), None, data, id)


def test_html_of_several_lines_is_one_event() -> None:
    event = Fragments(lambda message: "<p>\r\none\rtwo\n</p>").encode(message(1))
    assert event == b"event: t\ndata: <p>\ndata: one\ndata: two\ndata: </p>\nid: a.b\n\n"
    assert Fragments(lambda message: "").encode(message(1, None)) == b"event: t\ndata: \n\n"
    assert Fragments(lambda message: None).encode(message(1)) == b""


def test_a_gap_is_what_it_is_elsewhere() -> None:
    gap = Message.gap("c", "reconnect", event_id="a.b")
    assert Fragments(lambda message: "never asked").encode(gap) == gap.to_event()


def test_a_render_that_fails_leaves_out_one_message(caplog: pytest.LogCaptureFixture) -> None:
    def render(message: Message[Any]) -> Any:
        if message.data == 1:
            raise LookupError("no template")
        return 5 if message.data == 2 else "<b>fine</b>"

    fragments = Fragments(render)
    assert [bool(fragments.encode(message(number))) for number in (1, 2, 3)] == [False, False, True]
    assert "no template" in caplog.text
    assert "render returned int" in caplog.text


def test_a_message_is_rendered_once() -> None:
    rendered: list[Any] = []

    def render(message: Message[Any]) -> str:
        rendered.append(message.data)
        return "x"

    one = message(1)
    assert Fragments.of(render).encode(one) == Fragments.of(render).encode(one)
    assert rendered == [1]


@pytest.mark.parametrize("name", ["error", "open", "message", "ready", "gap", "closing", "end"])
def test_names_of_other_events_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="Rename"):
        Grant("c", [name], authorize=allow_anyone, render=lambda message: "")
    Grant("c", [name], authorize=allow_anyone)


def test_a_message_is_rendered_once_also_when_threads_ask_at_the_same_time() -> None:
    rendering, go_on = threading.Semaphore(0), threading.Event()

    def render(message: Message[Any]) -> str:
        rendering.release()
        go_on.wait(10)
        return "x"

    fragments, one = Fragments(render), message(1)
    with ThreadPoolExecutor(2) as threads:
        events = [threads.submit(fragments.encode, one) for _ in range(2)]
        try:
            assert rendering.acquire(timeout=10)
            assert not rendering.acquire(timeout=0.2)
        finally:
            go_on.set()
        assert events[0].result() == events[1].result()
    assert not rendering.acquire(timeout=0)
