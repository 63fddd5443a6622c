"""What the words of a report mean: those of cost models and papers that a reader may not know."""

import re
from collections.abc import Iterable

WORDS = {
    "E_AC": "Energy of one accumulation: an 8-bit adder and register in 28 nm, 0.118 pJ.",
    "FLOP estimate": "FLOPs · T · (1 − sparsity) · E_AC: what papers claim from a count of operations, "
    "without memory, idle logic and converters.",
    "Δ": "Accuracy that is lost, relative to software: (software − hardware) / software.",
    "±": "Standard deviation between programmed chips of one design, which differ by their devices.",
    "glb": "Global buffer: SRAM for inputs (glb_ifmap), weights (glb_filter) and outputs (glb_ofmap).",
    "dram": "Memory outside the chip, from which inputs and weights come and to which outputs go.",
    "scratchpad": "Registers inside one processing element.",
    "psum": "Partial sum: an output that is still being added up.",
    "adc": "Analog-to-digital converters, which make numbers of the columns' currents.",
    "mux": "Multiplexers, by which columns take turns at one converter.",
    "diff": "The module that puts the two parts of a signed weight together (SpikeFlow's DIFF).",
    "shift_add": "Joins the slices of a weight that does not fit into one cell.",
    "crossbar": "Array of memory cells that multiplies by Ohm's law and adds by Kirchhoff's.",
    "accumulator": "Adds what the crossbars of one output contribute.",
    "h_tree": "Wires that join the processing elements of one tile.",
    "noc": "Network on chip: routers that carry spikes between tiles.",
    "membrane": "Memory of the neurons' potentials.",
    "gain": "Digital multiplication that undoes what a column's wires take away.",
    "EDP": "Energy-delay product, joule times second; less is better.",
}
"""By the word as reports show it; lower case is looked for anywhere in a component's name."""


def explained(texts: Iterable[str]) -> dict[str, str]:
    """Those of [`WORDS`][] that occur in the texts of a page."""
    joined = "\n".join(texts)
    found = {}
    for word, meaning in WORDS.items():
        # A component's name has its words between underscores.
        pattern = rf"(?<![A-Za-z]){re.escape(word)}(?![a-z])"
        if re.search(pattern, joined, re.IGNORECASE if word.islower() else 0):
            found[word] = meaning
    return found
