"""Chips from gin files, as `evaluate --chip FILE.gin` reads them."""

import textwrap

import equinox as eqx
import pytest

from experiments import __main__
from experiments.chip_file import read_chip_file
from hwmodels import sata, spikeflow
from hwmodels.adc import AsBuilt
from hwmodels.crossbar import Capacitances, Settling, Sinh, Transistor, preset
from hwmodels.crossbar.write_verify import Adaptive
from jaxsnn.codesign.sources import read_chips


def written(tmp_path, text):
    path = tmp_path / "mine.gin"
    path.write_text(text)
    return path


def test_a_file_that_binds_one_chip_is_that_chip(tmp_path):
    chips = read_chip_file(
        written(tmp_path, "Chip.adc_bits = 6\nChip.wires = @Wires()\nWires.row = 2.0\nWires.driver = 500.0\n")
    )
    assert list(chips) == ["mine"]
    assert isinstance(chips["mine"], spikeflow.Chip)
    assert (chips["mine"].adc_bits, chips["mine"].wires.row, chips["mine"].wires.driver) == (6, 2.0, 500.0)


def test_a_file_may_bind_both(tmp_path):
    chips = read_chip_file(written(tmp_path, "Chip.mux_ratio = 4\nAccelerator.dataflow = 'os'\n"))
    assert list(chips) == ["mine Chip", "mine Accelerator"]
    assert isinstance(chips["mine Accelerator"], sata.Accelerator)


def test_a_chip_that_cannot_be_programmed_is_refused_before_data_are_read(tmp_path):
    path = written(tmp_path, "Chip.crossbar_rows = 32.5")
    with pytest.raises(ValueError, match=r"programmed at whole sizes: Chip\.crossbar_rows is 32\.5"):
        read_chips([str(path)], read_chip_file)


def test_a_file_says_every_part_of_a_chip(tmp_path):
    """Measured devices, laws of cells, converters as built, settling and programming."""
    text = """
        Chip.cell = @Cell()
        Cell.name = "pcm"
        Cell.bits = 4
        Cell.read_j = 1e-12
        Cell.area_um2 = 30.0
        Cell.law = @Transistor()
        Transistor.vg = 2.0
        Chip.device = @pcm_joshi_2020()
        pcm_joshi_2020.time_s = 60.0
        Chip.adc = @Adc()
        Adc.build = @AsBuilt()
        AsBuilt.offset = 0.01
        Chip.settling = @Settling()
        Settling.read_s = 2e-9
        Settling.capacitances = @Capacitances()
        """
    chip = read_chip_file(written(tmp_path, textwrap.dedent(text)))["mine"]
    expected = spikeflow.Chip(
        cell=spikeflow.Cell("pcm", 4, 1e-12, 30.0, law=Transistor(vg=2.0)),
        device=preset("pcm-joshi-2020").at(60.0),
        adc=spikeflow.Adc(build=AsBuilt(offset=0.01)),
        settling=Settling(2e-9, Capacitances()),
    )
    assert eqx.tree_equal(chip, expected)
    text = """
        Chip.cell = @Sinh()
        Chip.device = @Device()
        Device.variation = @WriteVerify()
        WriteVerify.max_rounds = 5
        WriteVerify.pulses = @Adaptive()
        """
    chip = read_chip_file(written(tmp_path, textwrap.dedent(text)))["mine"]
    assert isinstance(chip.crossbar().cell, Sinh)
    assert chip.device.variation.max_rounds == 5
    assert isinstance(chip.device.variation.pulses, Adaptive)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Wires.row = 2.0\n", "binds no chip"),
        ("Chip.adc_bits = 6\nWires.row = 2.0\n", "nothing uses the binding Wires.row"),
        ("Chip.adcbits = 6\n", "did you mean 'adc_bits'"),
        ("Chip.adc_bits = 40\n", "adc_bits must lie in"),
        ("Chip.adc_bits = \n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, capsys, as_users_run, text, message):
    words = ["evaluate", "--network", "mlp", "--data", "digits", "--chip", str(written(tmp_path, text))]
    assert __main__.main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
