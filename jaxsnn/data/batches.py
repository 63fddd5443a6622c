"""How inputs are cut into batches."""

from jaxsnn.checks import is_count


def batch_starts(count: int, batch_size: int) -> range:
    """Where each batch of `count` inputs begins; the last may be shorter.

    **Raises:** `ValueError` for a batch size that is no whole number of at least 1.
    """
    if not is_count(batch_size):
        raise ValueError(f"batch_size must be at least 1 image and a whole number, got {batch_size!r}.")
    return range(0, count, int(batch_size))
