"""The constants of the SpikeFlow chip: energy of one use and area of one instance, each with its source.

Sources, by their letter in the comments below:

- **E**: the energy-latency-area script of Intelligent-Computing-Lab-Yale/SpikeSim (65 nm, 64×64 crossbars,
  eight PEs a tile), which is what "Are SNNs Truly Energy-efficient?" prints in Table II, column SpikeSim.
- **K**: the kernel tables of Intelligent-Computing-Lab-Yale/SATA_Sim (28 nm, power at 400 MHz), brought to
  65 nm by the `nominal-voltage` rule of `technology.py`.
- **C**: CACTI 7.0 as SATA_Sim configures it (28 nm), brought to 65 nm by the same rule.
"""

import dataclasses

import equinox as eqx

from hwmodels.adc import Adc as Adc
from hwmodels.crossbar.cells import Cell as Law
from hwmodels.crossbar.mapping import CellModel
from hwmodels.spikeflow.technology import scaling
from hwmodels.workload import Scalar

_FROM_28_NM = scaling(28.0, 65.0)  # Python floats
_SATA_CLOCK_HZ = 400e6


def _kernel_j(dynamic_mw: float) -> Scalar:
    return dynamic_mw * 1e-3 / _SATA_CLOCK_HZ * _FROM_28_NM.energy


def _kernel_um2(area_um2: float) -> Scalar:
    return area_um2 * _FROM_28_NM.area


class Cell(eqx.Module):
    """The memory cell at each cross-point.

    **Arguments:**

    - `name`: how tables call it.
    - `bits`: weight bits that one cell holds.
    - `read_j`: one read of a 64×64 crossbar with all rows driven, in joule.
    - `area_um2`: a 64×64 crossbar, in µm².
    - `cmos`: whether the cell shrinks with the technology node.
    - `cacti_read_j`: the same read as CACTI has it, where `read_j` is a slip of the script; None where not.
    - `law`: its current by its voltages, e.g. [`hwmodels.crossbar.Sinh`][]; None is a resistor. It decides
      accuracy alone: `read_j` is a constant of the published tool.
    - `read_voltage_v`: of a spike, in volt.
    - `model`: how products with a law are found, see [`hwmodels.crossbar.mapping.Crossbar`][]; "exact" solves
      every tile for every input vector, which whole test sets have no time for.
    - `activity`: the share of rows that spike, which `"mean-activity"` linearises at.
    """

    name: str = eqx.field(static=True)
    bits: Scalar
    read_j: Scalar
    area_um2: Scalar
    cmos: bool = eqx.field(static=True, default=False)
    cacti_read_j: Scalar | None = None
    law: Law | None = None
    read_voltage_v: Scalar = 0.1
    model: CellModel = eqx.field(static=True, default="mean-activity")
    activity: Scalar = 0.2


RRAM = Cell(name="rram", bits=4, read_j=1.76423e-12, area_um2=26.2144)
"""E. The area is 4 F² a cell at F = 40 nm; four bits a cell as the same repository's `--b_size 4`."""

SRAM = Cell(
    name="sram",
    bits=1,
    read_j=671.089e-12,
    area_um2=671.089,
    cmos=True,
    cacti_read_j=0.0020399e-9 / 256 * 64 * 64 * _FROM_28_NM.energy,
)
"""E; C for the corrected read: 4,096 bits of CACTI's smallest memory, 1 KiB with blocks of 32 bytes in one
bank. Energy (pJ) and area (µm²) are digit for digit the same number in the script, and as an area it makes
sense (102.4 F² a cell at F = 40 nm): the energy is most likely a slip, and stands where conventions are
published."""


class Mesh(eqx.Module):
    """The inter-tile network: a square mesh, tiles laid row by row, every other row backwards.

    **Arguments:**

    - `hop_bit_j`: energy of one bit over one router and one link, in joule. Measured on silicon by McKeown et
      al., "Power and Energy Characterization of an Open Source 25-Core Manycore Processor", HPCA 2018, figure
      12: 11.16 pJ per 64-bit flit and hop with half the bits switching (32 nm, tiles of about 1.1 mm),
      brought to 65 nm by the `nominal-voltage` rule. SpikeSim's script has no network.
    """

    hop_bit_j: Scalar = 11.16e-12 / 64 * scaling(32.0, 65.0).energy


class Components(eqx.Module):
    """Energy (joule) and area (µm²) of the chip's parts; the letter after each constant names its source.

    "Per PE cycle" is one output position on one PE. A script constant that does not say how it depends on
    the crossbar, on the tile or on the membrane is taken to hold at 64×64, eight PEs and 22 bits.
    """

    # Energy
    tile_buffer_j: Scalar = 397.0e-12  # E, per PE cycle
    pe_buffer_j: Scalar = 0.2e-12  # E ("temporary buffer"), per read round
    subtractor_j: Scalar = 1.15e-18  # E; 16 a read round; without `diff_energy` alone
    subtractors_per_round: Scalar = 16  # E
    mux_j: Scalar = 0.094245e-12  # E, per conversion
    h_tree_j: Scalar = 157.12e-12  # E (19.64 pJ · 8), per PE cycle
    membrane_fetch_j: Scalar = 4.64e-12  # E ("memory fetch"); without `membrane_words` alone
    neuron_j: Scalar = 5.096e-12  # E (1.274 pJ · 4)
    adder_4_bit_j: Scalar = _kernel_j(0.00873)  # K
    adder_8_bit_j: Scalar = _kernel_j(0.01689)  # K
    adder_16_bit_j: Scalar = _kernel_j(0.0367)  # K
    multiplier_8_bit_j: Scalar = _kernel_j(0.0821)  # K
    comparator_8_bit_j: Scalar = _kernel_j(0.00908)  # K
    global_buffer_bit_j: Scalar = 0.0110295e-9 / 256 * _FROM_28_NM.energy  # C: 32 KiB, 32-byte block, 2 banks

    # Area
    tile_buffer_um2: Scalar = 6054.7072  # E: 64 × 128 bits
    pe_buffer_um2: Scalar = 484.643999  # E, per tile
    subtractor_um2: Scalar = 13411.41498  # E, X/8 a tile
    mux_um2: Scalar = 45.9  # E
    h_tree_um2: Scalar = 433660.0  # E, per tile
    sram_bit_um2: Scalar = 0.7391  # E
    adder_8_bit_um2: Scalar = _kernel_um2(22.176)  # K
    adder_16_bit_um2: Scalar = _kernel_um2(45.024)  # K
    multiplier_8_bit_um2: Scalar = _kernel_um2(101.472)  # K
    comparator_8_bit_um2: Scalar = _kernel_um2(15.456)  # K
    neuron_um2: Scalar = _kernel_um2(129.0)  # K: one LIF unit of SATA, 0.000129 mm² at 28 nm


def as_cell(cell: Cell | Law) -> Cell:
    """A cell; of a law alone, the published RRAM cell with that law."""
    return dataclasses.replace(RRAM, law=cell) if isinstance(cell, Law) else cell
