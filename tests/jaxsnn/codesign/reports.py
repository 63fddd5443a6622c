"""A report that no chip was programmed for, to look at what is made of it."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from jaxsnn.codesign.metrics import Metrics
from jaxsnn.codesign.on_chip import OnChip
from jaxsnn.codesign.report import Report
from jaxsnn.learning.evaluation import Evaluation
from jaxsnn.signal import LayerRecord


def layer(name, spiking=True):
    return LayerRecord(
        name=name,
        kind="linear",
        height=1,
        width=1,
        in_channels=4,
        out_channels=4,
        kernel=(1, 1),
        stride=(1, 1),
        padding=(0, 0),
        spiking=spiking,
        pool=1,
        analog_input=False,
        residual_add=False,
        input_rate=jnp.float32(0.25),
        spike_rate=jnp.float32(0.125),
    )


def report():
    record = (layer("fc1"), layer("fc2", spiking=False))
    software = Evaluation(0.96, 0.1, record, np.zeros(4, np.int32))

    def chip(name, accuracies, parts, latency, area, **facts):
        cost = SimpleNamespace(
            energy_j=sum(parts.values()),
            latency_s=latency,
            area_mm2=area,
            energy_by_component_j=parts,
            energy_by_layer_j={"fc1": 0.75 * sum(parts.values()), "fc2": 0.25 * sum(parts.values())},
            latency_by_layer_s={"fc1": latency, "fc2": 0.0},
            area_by_component_mm2={"adc": area},
        )
        return OnChip(
            name, f"{name}, labelled", np.array([accuracies]), np.array([0.96]), record, cost, facts
        )

    chips = {
        "ten <b>": chip("ten <b>", [0.9, 0.92], {"adc": 6e-9, "glb_filter": 4e-9}, 1e-6, 2.0, node="65 nm"),
        "two": chip("two", [0.95, 0.95], {"adc": 2e-6}, 3e-6, 0.5, node="28 nm", bits="4-bit weights"),
        "one": chip("one", [0.5, 0.5], {"adc": 1e-9}, 9e-6, 11.0),
    }
    return Report(
        software=(software,),
        record=record,
        timesteps=4,
        estimated_energy_j=1e-10,
        chips=chips,
        metrics=Metrics(1024, 0.25, 0.875, 128.0, 8.0, 16.0, 4.0, samples=2, timesteps=4, batch_size=2),
        inputs={"dataset": "toy", "conventions": "corrected"},
        provenance={
            "date": "2026-11-28T10:11:12+00:00",
            "commit": "abc123",
            "versions": {"spikechip": "0.2.0"},
        },
    )
