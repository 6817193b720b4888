"""The page of the benchmarks is written by their command; what they measure is no test's business."""

from __future__ import annotations

import re

import pytest

from benchmarks.__main__ import NAMES, PAGE
from benchmarks.report import Figure, at_least, table, with_table

MEASURED = "Measured on 2030-01-02: Python 3.14.1, 2 CPUs."


def sections(page: str) -> list[str]:
    return re.split(r"^(?=## )", page, flags=re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_put_into_its_section_and_nothing_else_changes(name: str) -> None:
    page = PAGE.read_text()
    figures = table([at_least("ours", 1.5, 1.2), Figure("theirs", "1.1x")])
    updated = with_table(page, name, figures, MEASURED)
    changed = [section for section in sections(updated) if section not in sections(page)]
    if f"(`{name}`)" not in page:
        assert updated.startswith(page)
        changed = [updated.removeprefix(page)]
    (section,) = changed
    assert f"(`{name}`)\n" in section
    assert f"{MEASURED}\n\n{figures}\n" in section
    assert section.count("Measured on") == 1
    assert with_table(updated, name, "| again |", "Measured on a day.") == with_table(
        page, name, "| again |", "Measured on a day."
    )
