"""What people look for is written in the documentation, and the site's search finds it."""

from __future__ import annotations

import re

import pytest

from .blocks import ROOT, blocks_of

# Symptoms, as their headings say them.
SYMPTOMS = ["I see nothing", "It stops after a minute", "It hangs on reload"]
WORDS = [
    # Of the TypeScript SDK and its documentation.
    *("getClientSubscriptionToken", "getReader", "getJsonStream", "getEncodedStream", "onMessage", "onError", "fnId"),
    *("inngest.realtime.subscribe", "inngest.realtime.publish", "useRealtime", "Next.js", "Express", "TanStack"),
    # Of what one has already.
    *("sessions", "JWT", "flask-login", "Depends", "current_user", "DRF", "CORS", "htmx", "React", "Redis"),
    # Of where it runs.
    *("uvicorn", "gunicorn", "gevent", "granian", "hypercorn", "waitress", "daphne", "WSGI", "nginx", "Caddy"),
    *("Traefik", "Kubernetes", "preStop", "terminationGracePeriodSeconds", "readinessProbe", "max-requests", "reload"),
    # Of this package.
    *("rewind", "gap", "Last-Event-ID", "heartbeat", "max_streams", "too_many_streams", "doctor", "tail", "health"),
]


def search_separator() -> str:
    """The expression of mkdocs.yml that takes texts and queries apart."""
    (separator,) = re.findall(r"separator: '(.+)'\n", (ROOT / "mkdocs.yml").read_text())
    return str(separator).replace("''", "'")


def tokens(text: str) -> list[str]:
    return [token for token in re.split(search_separator(), text.lower()) if token]


PAGES = {path: tokens(path.read_text()) for path in sorted((ROOT / "docs").rglob("*.md"))}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_found(word: str) -> None:
    """As the search does it: each part of what was typed begins a word of one page."""
    parts = tokens(word)
    found = [
        page for page, words in PAGES.items() if all(any(each.startswith(part) for each in words) for part in parts)
    ]
    assert found


def test_symptoms_are_headings() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    missing = [symptom for symptom in SYMPTOMS if not any(symptom in heading for heading in headings)]
    assert missing == []


def test_each_part_of_a_figure_is_named() -> None:
    """A figure that says the same as its source: mermaid takes many a slip of the pen for a name."""
    for page in PAGES:
        for block in blocks_of(page):
            if block.language == "mermaid" and block.code.startswith("sequenceDiagram"):
                named = set(re.findall(r"participant (\w+)", block.code))
                used = {
                    name for pair in re.findall(r"^\s*(\w+)-{1,2}>>(\w+):", block.code, re.MULTILINE) for name in pair
                }
                assert used <= named, f"{page.name}:{block.line}"
