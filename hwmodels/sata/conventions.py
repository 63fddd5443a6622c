"""What the authors' published numbers do that a chip would not, as a list to toggle."""

from collections.abc import Collection

CORRECTIONS: dict[str, str] = {
    "fully_connected": "A linear layer does one product per weight and one neuron update per output. "
    "Published: a convolution with padding 1, hence nine of each on its 3×3 outputs.",
    "padding": "Operations, cycles and memory words follow the layer's own padding and output size; padding "
    "zeros and overhanging windows are not fetched. Published: padding 1 in operations, none in the rest.",
    "ofmap_skew": "Each result is written to the output buffer once. Published: rows + columns more words "
    "for every fold.",
    "ofmap_timesteps": "Outputs leave at every timestep. Published: at one.",
    "ifmap_timesteps": "The spikes of all timesteps are fetched (once, packed). Published: those of one.",
    "filter_load": "Loading the weights takes the cycles that shift them into the array. Published: the "
    "whole run of one weight-stationary timestep, computing included.",
    "precision": "A word of b bits costs b/8 of an 8-bit word. Published: every operand is a byte.",
    "dram_write": "DRAM writes cost CACTI's write energy. Published: its read energy.",
    "buffer_fills": "A word from DRAM is written to its buffer, and a word to DRAM is read from it. "
    "Published: neither is charged.",
    "banks": "All banks of a buffer leak. Published: one of two.",
    "weight_sparsity": "A product with a pruned weight is skipped. Published: only the inputs' sparsity.",
    "analog_input": "A directly encoded layer computes its products once, for all timesteps, with a "
    "multiplier. Published: at every timestep, as if the image were spikes.",
    "neurons": "Only spiking layers update neurons and send spikes (the others send partial sums); residual "
    "additions, pooling, biases and normalisation are charged, and pooled maps leave smaller. "
    "Published: every layer has neurons, and nothing else is charged.",
    "pooled_inputs": "A pooled average of spikes is read with the bits that it was written with. Published: "
    "every operand has the same bits.",
    "rounding": "Powers and operation counts are not rounded. Published: powers to a nanowatt per group, "
    "operations to whole numbers.",
}
"""Names and meanings of all corrections; "corrected" is all of them, "published" none."""


def resolve(conventions: str | Collection[str]) -> frozenset[str]:
    """The set of corrections that `conventions` names.

    **Arguments:**

    - `conventions`: "corrected" (all), "published" (none), or the names of some of [`CORRECTIONS`][].

    **Raises:** `ValueError` for a name that is not one of them.
    """
    if conventions == "corrected":
        return frozenset(CORRECTIONS)
    if conventions == "published":
        return frozenset()
    names = frozenset([conventions] if isinstance(conventions, str) else conventions)
    unknown = sorted(names - CORRECTIONS.keys())
    if unknown:
        raise ValueError(
            f"unknown conventions {', '.join(map(repr, unknown))}; choose 'corrected', 'published', or "
            f"some of {', '.join(CORRECTIONS)}."
        )
    return names
