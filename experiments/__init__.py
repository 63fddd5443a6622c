"""Experiments: the one place where networks meet hardware models."""

import time

BEGAN = time.monotonic()
"""Before anything heavy is imported: a lent machine counts that too."""
