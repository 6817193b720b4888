"""What the metadata needs from outside the tree: where the project lives, from the environment variable `PROJECT_URL`.

With it, the package index shows the project's addresses, and the relative links of the README and its `git clone` lead
there. Without it there are no addresses, and the README stands as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?\[[^\]]*\]\()(?!https?:|#)([^)\s]+)(\))")


class ProjectMetadata(MetadataHookInterface):
    """Fills in `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        url = os.environ.get("PROJECT_URL", "").rstrip("/")
        metadata["urls"] = {}
        if url:
            text = absolute(text, url, f"v{metadata['version']}")
            metadata["urls"] = {
                "Source": url,
                "Issues": f"{url}/issues",
                "Changelog": f"{url}/blob/main/CHANGELOG.md",
                "Documentation": f"{url}/tree/main/docs",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, url: str, revision: str) -> str:
    """The text with its relative links and images leading to a revision of the repository, and the clone to it."""

    def replace(match: re.Match[str]) -> str:
        kind = "raw" if match[1].startswith("!") else "blob"
        return f"{match[1]}{url}/{kind}/{revision}/{match[2]}{match[3]}"

    return _LINK.sub(replace, text).replace("ADDRESS_OF_THIS_REPOSITORY", url)
