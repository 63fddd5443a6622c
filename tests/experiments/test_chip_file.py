"""Chips from gin files, as `evaluate --chip FILE.gin` reads them."""

import pytest

from experiments import __main__
from experiments.chip_file import read_chip_file
from hwmodels import sata, spikeflow


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
