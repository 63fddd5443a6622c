"""The FLOP estimate against the printed column of Table II."""

import jax
import numpy as np
import pytest

from hwmodels.flops import estimated_energy, flop_energy, operation_energy
from hwmodels.workload import Layer, Workload
from tests.helpers import finite_difference, reference_json

TABLE = reference_json("estimated_energy.json")


@pytest.mark.parametrize("row", TABLE["rows"], ids=lambda row: row["work"])
def test_table_two_to_the_printed_digits(row):
    if row["work"] == "TDBN":
        energy_j = operation_energy(1.8e9, 3.4e7)
    else:
        energy_j = flop_energy(row["macs"], row["timesteps"], row["sparsity"])
    assert round(energy_j * 1e9 / 1e4, 1) == row["printed_nj"] / 1e4


def test_the_accumulation_is_the_one_of_the_reference():
    assert flop_energy(1, 1, 0) * 1e9 == pytest.approx(TABLE["e_ac_nj"], rel=1e-12)


def test_a_workload_adds_its_layers_at_their_own_rates():
    def energy(rates):
        layers = (
            Layer.conv("a", height=4, width=4, in_channels=2, out_channels=3, padding=1, input_rate=rates[0]),
            Layer.linear("b", in_features=48, out_features=10, input_rate=rates[1], weight_sparsity=0.5),
        )
        return estimated_energy(Workload(layers=layers, timesteps=5))

    rates = np.array([0.2, 0.7])
    by_hand = flop_energy(4 * 4 * 3 * 18, 5, 0.8) + flop_energy(480, 5, 1 - 0.35)
    assert energy(rates) == pytest.approx(by_hand, rel=1e-12)
    assert energy(np.zeros(2)) == 0
    np.testing.assert_allclose(jax.grad(energy)(rates), finite_difference(energy, rates), rtol=1e-8)
