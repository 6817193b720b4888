"""Hooks of MkDocs: a folder in the navigation stands for its pages; dead links and broken lists fail the build."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_MERMAID = "https://unpkg.com/mermaid@11.6.0/dist/mermaid.min.js"


def on_config(config: Any) -> Any:
    config.nav = _expanded(config.nav, Path(config.docs_dir))
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> None:
    """Whoever searches for a word wants the guide that explains it before all that mention it."""
    if page.file.src_uri.startswith(("api/", "benchmarks")):
        page.meta["search"] = {"boost": 0.2}


def on_page_content(html: str, page: Any, **_: Any) -> None:
    """A list or a table right behind a paragraph is one on GitHub, and part of the paragraph here."""
    text = re.sub(r"<pre.*?</pre>", "", html, flags=re.DOTALL)
    if found := re.search(r"\n\s*(?:[-*|] |\d+\. ).*", text):
        raise SystemExit(f"{page.file.src_uri}: it wants an empty line before it: {found[0].strip()}")


def on_post_page(output: str, page: Any, config: Any) -> str:
    """The theme loads the newest mermaid, whose arrowheads its dark colours do not reach; this one's they do."""
    script = f'<script src="{_MERMAID}"></script></body>'
    return output.replace("</body>", script) if 'class="mermaid"' in output else output


def on_post_build(config: Any) -> None:
    """MkDocs looks at links between pages alone: not at those that leave `docs/`, nor at what a page includes."""
    site = Path(config.site_dir).resolve()
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    dead = [
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items()
        for link in page.links
        if not _leads_somewhere(link, path, pages)
    ]
    if dead:
        raise SystemExit("Links that lead nowhere:\n" + "\n".join(dead))


def _leads_somewhere(link: str, path: Path, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or link.startswith("/"):
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return False
    return not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].ids


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.append(value)
            elif value and name == "id":
                self.ids.add(value)


def _expanded(entry: Any, docs: Path) -> Any:
    if isinstance(entry, list):
        return [_expanded(item, docs) for item in entry]
    if isinstance(entry, dict):
        return {title: _expanded(item, docs) for title, item in entry.items()}
    if isinstance(entry, str) and entry.endswith("/"):
        return [f"{entry}{page.name}" for page in sorted((docs / entry).glob("*.md"))]
    return entry
