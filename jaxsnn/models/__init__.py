"""Networks of the papers, and trained ones."""

from typing import Any

_PRETRAINED = ("zoo", "zoo_facts")


def __getattr__(name: str) -> Any:
    if name in _PRETRAINED:
        from jaxsnn.models import pretrained

        return getattr(pretrained, name)
    raise AttributeError(f"module 'jaxsnn.models' has no attribute {name!r}.")
