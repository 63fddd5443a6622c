"""Another project's distribution of the same import name, Heidelberg's jaxsnn, in the same environment."""

from importlib.metadata import PackageNotFoundError, metadata

_FORMER = "Differentiable hardware-in-the-loop design of spiking neural networks"
"""What this project said of itself when its distribution was called jaxsnn too."""


def refuse_namesake() -> None:
    """**Raises:** `ImportError` where the distribution `jaxsnn` is installed and is not this project."""
    try:
        found = metadata("jaxsnn")
    except PackageNotFoundError:
        return
    if found["Summary"] != _FORMER:
        raise ImportError(
            f"the distribution jaxsnn {found['Version']} (Heidelberg's library for BrainScaleS-2) and "
            "spikechip both install a package called jaxsnn and cannot share an environment: make a new one "
            "and run `pip install spikechip` there."
        )
