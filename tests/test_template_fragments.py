"""HTML of messages from templates, for `Grant(render=)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from jinja2 import DictLoader, Environment, select_autoescape
from starlette.templating import Jinja2Templates

from inngest_realtime_core import ConfigurationError, Message
from inngest_realtime_core.endpoints import template_fragments
from inngest_realtime_core.messages.envelope import Envelope

TEMPLATES = {"log.html": "<li>{{ data.text }} of {{ message.topic }}</li>"}


def message(kind: str = "data", topic: str = "log") -> Message[Any]:
    return Message(Envelope(kind, msgspec.Raw(b'{"text":"<b>&"}'), "c", topic=topic))


def test_a_jinja2_environment_escapes() -> None:
    environment = Environment(loader=DictLoader(TEMPLATES), autoescape=select_autoescape())
    fragment = template_fragments(environment, {"log": "log.html"})
    assert fragment(message()) == "<li>&lt;b&gt;&amp; of log</li>"
    assert fragment(message(topic="other")) is None
    assert fragment(message(kind="chunk")) is None


def test_any_function_of_name_and_context() -> None:
    fragment = template_fragments(lambda name, context: f"{name}: {context['data']['text']}", {"log": "a.html"})
    assert fragment(message()) == "a.html: <b>&"


def test_what_holds_an_environment(tmp_path: Path) -> None:
    (tmp_path / "log.html").write_text(TEMPLATES["log.html"])
    fragment = template_fragments(Jinja2Templates(tmp_path), {"log": "log.html"})
    assert fragment(message()) == "<li>&lt;b&gt;&amp; of log</li>"


@pytest.mark.parametrize("autoescape", [False, select_autoescape(enabled_extensions=())])
def test_an_environment_that_does_not_escape_is_refused(autoescape: Any) -> None:
    environment = Environment(loader=DictLoader(TEMPLATES), autoescape=autoescape)
    with pytest.raises(ConfigurationError, match=r"log\.html"):
        template_fragments(environment, {"log": "log.html"})
