"""What the published tool counts and what a chip would do, one switch per difference."""

import dataclasses

import equinox as eqx


class Conventions(eqx.Module):
    """Which of the published tool's rules are replaced. Every switch is False in the published tool.

    - `convolution_outputs`: a layer works on every output of its convolution. The tool counts the map
      after pooling (its golden VGG9 evaluates conv2 at 16×16 although it convolves at 32×32).
    - `encode_once`: a layer with an analog input is computed once and its result kept, as direct encoding
      allows. The tool computes it at every timestep.
    - `packed_pes`: a PE of k² crossbars holds k² row blocks of any kernel (linear and 1×1 layers fill it).
      The tool gives every block of 64 input channels a PE of its own, whatever the kernel.
    - `weight_slices`: a weight of more bits than a cell takes more columns. The tool counts one column.
    - `neuron_per_output`: neuron and membrane work once per block of outputs. The tool charges them on every
      PE, also on those that deliver partial sums only.
    - `membrane_words`: every output reads and writes its potential, at the global buffer's energy per bit
      (CACTI). The tool charges 4.64 pJ per PE cycle for the potentials of 64 outputs, 3 fJ a bit, which is
      about what CACTI gives for one of these 64 words.
    - `diff_energy`: the DIFF subtractor costs an 8-bit subtraction (SATA's kernel table). The tool's
      1.15e-6 pJ is five orders below that.
    - `cacti_cells`: an SRAM crossbar's read costs what CACTI has for its bits. The tool's 671 pJ is the
      number of its area, a slip.
    - `measured_rates`: crossbars, drivers and converters work as inputs spike (`Chip.activity` of None). The
      tool charges all of them in every cycle.
    - `mux_rounds`: `mux_ratio` read rounds and columns/`mux_ratio` converters per PE. The tool takes X/8 for
      both (the same at X = 64).
    - `scaled_parts`: parts grow with the parameter they serve: crossbars with rows × columns, buffers, DIFF
      and H-tree with columns, membrane fetch with its bits, H-tree with PEs per tile, time of a PE cycle
      with its read rounds. The tool's constants hold for every size.
    - `membrane_everywhere`: every layer that keeps a potential has its memory. The tool counts the first
      five layers of the list.
    - `binary_maps`: the global buffer holds a spike in one bit and a pixel in its bits. The tool stores both
      in 22-bit words.
    - `column_parallel`: the columns of a crossbar work in one PE cycle, as the tool's own energy assumes. Its
      latency charges a PE cycle for every output channel.
    - `whole_chip`: shift-add, accumulators, NoC, global buffer, neuron logic, pooling, gain, biases,
      normalisation and entropy module are counted, and a pooled average has its bits wherever it is written,
      sent and read. The tool has none of them.
    """

    convolution_outputs: bool = eqx.field(static=True, default=True)
    encode_once: bool = eqx.field(static=True, default=True)
    packed_pes: bool = eqx.field(static=True, default=True)
    weight_slices: bool = eqx.field(static=True, default=True)
    neuron_per_output: bool = eqx.field(static=True, default=True)
    membrane_words: bool = eqx.field(static=True, default=True)
    diff_energy: bool = eqx.field(static=True, default=True)
    cacti_cells: bool = eqx.field(static=True, default=True)
    measured_rates: bool = eqx.field(static=True, default=True)
    mux_rounds: bool = eqx.field(static=True, default=True)
    scaled_parts: bool = eqx.field(static=True, default=True)
    membrane_everywhere: bool = eqx.field(static=True, default=True)
    binary_maps: bool = eqx.field(static=True, default=True)
    column_parallel: bool = eqx.field(static=True, default=True)
    whole_chip: bool = eqx.field(static=True, default=True)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The switches, in order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def replace(self, **switches: bool) -> "Conventions":
        """The same conventions with some switches set."""
        unknown = sorted(set(switches) - set(self.names()))
        if unknown:
            raise ValueError(f"no convention is called {unknown[0]!r}; there are {', '.join(self.names())}.")
        return dataclasses.replace(self, **switches)


CORRECTED = Conventions()
PUBLISHED = Conventions(**dict.fromkeys(Conventions.names(), False))


def resolve(conventions: str | Conventions) -> Conventions:
    """The switches behind a name.

    **Raises:** `ValueError` for another name.
    """
    if isinstance(conventions, Conventions):
        return conventions
    named = {"corrected": CORRECTED, "published": PUBLISHED}
    if conventions not in named:
        raise ValueError(
            f"conventions must be 'corrected', 'published' or a Conventions, got {conventions!r}."
        )
    return named[conventions]
