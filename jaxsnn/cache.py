"""Where files lie that may be deleted at any time."""

import os
import sys
from pathlib import Path


def user_cache(kind: str) -> Path:
    """The folder of files of one kind: `spikechip/KIND` in the user's cache folder."""
    return _users() / "spikechip" / kind


def _users() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    default = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    return Path(os.environ.get("XDG_CACHE_HOME") or default or Path.home() / ".cache")
