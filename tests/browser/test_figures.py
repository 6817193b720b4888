"""The figures of the documentation, drawn by what the site draws them with."""

from __future__ import annotations

from typing import Any

import pytest

from browser.conftest import MODULES
from docs.blocks import PAGES, blocks_of

MERMAID = MODULES / ".mermaid" / "package" / "dist" / "mermaid.min.js"
DRAW = """async (figures) => {
  mermaid.initialize({ startOnLoad: false });
  const drawn = [];
  for (const [number, figure] of figures.entries()) {
    const error = await mermaid.render(`figure-${number}`, figure).then(({ svg }) => {
      document.body.innerHTML = svg;
      const { width, height } = document.querySelector("svg").getBBox();
      return width > 100 && height > 50 ? null : `it is ${width} x ${height}`;
    }, String);
    drawn.push(error);
  }
  return drawn;
}"""


def test_the_figures_are_drawn(context: Any) -> None:
    if not MERMAID.exists():
        pytest.skip("mermaid is not there; `nox -s browser` fetches it.")
    figures = [
        (f"{page.name}:{block.line}", block.code)
        for page in PAGES
        for block in blocks_of(page)
        if block.language == "mermaid"
    ]
    assert len(figures) >= 10
    page = context.new_page()
    page.add_script_tag(path=MERMAID)
    errors = page.evaluate(DRAW, [code for _, code in figures])
    wrong = [(place, error) for (place, _), error in zip(figures, errors, strict=True) if error is not None]
    assert wrong == []
