"""A network, data and chips: what accuracy survives, and what one inference costs."""

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwmodels import sata
from hwmodels.checks import require_key
from hwmodels.chip import Chip, arithmetic, require_answers, require_chip, require_cost
from hwmodels.flops import estimated_energy
from jaxsnn.checks import is_count
from jaxsnn.codesign.attention import (
    WithProducts,
    attention_costs,
    attention_workloads,
    multiplies_spikes,
)
from jaxsnn.codesign.metrics import metrics
from jaxsnn.codesign.on_chip import OnChip
from jaxsnn.codesign.provenance import machine, parameters
from jaxsnn.codesign.report import Report
from jaxsnn.codesign.robustness import on_hardware
from jaxsnn.codesign.workload import Conventions, to_workload
from jaxsnn.data.dataset import Dataset
from jaxsnn.learning.evaluation import Evaluation
from jaxsnn.learning.evaluation import evaluate as test
from jaxsnn.learning.identity import fingerprint
from jaxsnn.network import LayerRecord, Network

Progress = Callable[[str, int, int], None]

_DATA, _CHIPS = 0, 1
_COUNTED = 256
"""Test inputs that the metrics are counted on."""


def evaluate(
    network: Network | Sequence[Network],
    dataset: Dataset,
    chips: Mapping[str, Chip],
    *,
    timesteps: int | None = None,
    draws: int = 10,
    key: jax.Array | None = None,
    conventions: Conventions = "corrected",
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Report:
    """Programs a network onto chips, tests it there, and prices each chip as it was programmed.

    ```
    report = evaluate(
        network,
        Dataset.from_arrays(images, labels, test=0.2),
        {"SpikeFlow": spikeflow.Chip(calibration="column"), "SATA": sata.Accelerator()},
        timesteps=5,
    )
    print(report)
    report.save("report")
    ```

    Products of spikes with spikes, of a [`jaxsnn.attention.SpikingAttention`][], are part of the cost of a
    digital chip. A crossbar cannot hold them: its chip's cost is without them, and `beside_j` says what the
    published SATA array would take for them.

    Every draw is a chip of its own, with its own devices. A chip is priced at the mean of the spike rates
    that its draws show on the test inputs: spikes that a chip loses cost nothing there.

    **Arguments:**

    - `network`: of any origin; or several, trained from different seeds, whose spread is then reported too.
    - `dataset`: its test split is used, and of its training split what converters are calibrated on.
    - `chips`: by the names that tables call them: any [`hwmodels.chip.Chip`][].
    - `timesteps`: T, by default that of inputs with a time axis of their own.
    - `draws`: programmed chips of every design; the same random streams for each. A design without anything
      random is programmed once, and all its draws are that.
    - `key`: of devices, read noise and encoding; by default `jax.random.key(0)`.
    - `conventions`: of the cost models, "corrected" or "published".
    - `batch_size`: of the test.
    - `progress`: called as `progress(chip, done, total)` after each programmed chip.

    **Returns:** a [`Report`][jaxsnn.codesign.report.Report]. A chip on which the network cannot be tested,
    such as one whose converters find nothing to be calibrated on, is under `failed`, with the reason.

    **Raises:** `ValueError` for no chips, fewer draws than one, data that do not fit the network, a chip's
    costs that are not finite, above zero and the sum of their parts, and where no chip can be tested;
    `TypeError` for what is no chip, network or data set.
    """
    networks = [network] if isinstance(network, Network) else list(network)
    timesteps = _checked(networks, dataset, chips, timesteps, draws)
    key = jax.random.key(0) if key is None else key
    require_key(key)
    data_key = jax.random.fold_in(key, _DATA)
    inputs = dataset.scale(dataset.test_images)
    fixed: dict[str, Any] = {"timesteps": timesteps, "batch_size": batch_size}
    software = [test(one, inputs, dataset.test_labels, key=data_key, **fixed) for one in networks]
    chip_keys = list(jax.random.split(jax.random.fold_in(key, _CHIPS), draws))
    record = _mean([one.record for one in software])
    # What a chip of one's own answers is looked at before any is programmed.
    workload = to_workload(record, timesteps, attention="apart")
    for name, chip in chips.items():
        require_answers(name, chip, workload, conventions)
    found, failed = {}, {}
    for name, chip in chips.items():
        total = len(networks) * (draws if arithmetic(chip).random else 1)
        on_chip = _counter(progress, name, total)
        try:
            runs = [
                on_hardware(
                    one,
                    chip,
                    dataset,
                    software=alone.accuracy,
                    keys=chip_keys,
                    data_key=data_key,
                    on_chip=on_chip,
                    **fixed,
                ).chips
                for one, alone in zip(networks, software, strict=True)
            ]
            found[name] = _on_chip(name, chip, software, runs, timesteps, draws, conventions)
        except _CallerError as stopped:
            raise stopped.error from None
        except ValueError as error:
            # The others' results are not lost, such as by a network that is too silent to calibrate this one.
            failed[name] = f"{error}{_silent(software)}"
            if len(failed) == len(chips):
                raise ValueError(f"chip {_listed(failed)}") from error
    if failed:
        warnings.warn(f"the report is without chip {_listed(failed)}", stacklevel=2)
    return Report(
        software=tuple(software),
        record=record,
        timesteps=timesteps,
        estimated_energy_j=_estimated_j(record, timesteps),
        chips=found,
        failed=failed,
        metrics=metrics(
            networks[0], inputs[:_COUNTED], **fixed | {"batch_size": min(batch_size, _COUNTED)}, key=data_key
        ),
        inputs={
            "dataset": dataset.name,
            "dataset_sha256": dataset.fingerprint,
            "test_images": len(dataset.test_labels),
            "networks": len(networks),
            "network_fingerprints": [fingerprint(one) for one in networks],
            "timesteps": timesteps,
            "draws": draws,
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            "conventions": conventions,
            "batch_size": batch_size,
            "chips": {name: _described(chip) for name, chip in chips.items()},
        },
        provenance=machine(),
    )


def _estimated_j(record: Sequence[LayerRecord], timesteps: int) -> float:
    """The estimate by operations, attention's products among them."""
    heads = {layer.name: layer.attention.heads for layer in record if layer.attention is not None}
    products = attention_workloads(record, timesteps)
    beside = sum(heads[name.rsplit(": ", 1)[0]] * estimated_energy(each) for name, each in products.items())
    return float(estimated_energy(to_workload(record, timesteps, attention="apart")) + beside)


def _described(chip: Chip) -> dict[str, Any]:
    """Its label and parameters; of a class without declared ones, what the object holds."""
    held = {name: value for name, value in getattr(chip, "__dict__", {}).items() if name[0] != "_"}
    given = parameters(chip if dataclasses.is_dataclass(chip) else held)
    return {"label": chip.label, "class": type(chip).__name__} | given


def _silent(software: Sequence[Evaluation]) -> str:
    """A sentence on layers in which nothing fires, where there are any."""
    layers = [layer for one in software for layer in one.record if layer.spiking]
    names = dict.fromkeys(layer.name for layer in layers if float(layer.spike_rate) == 0)
    if not names:
        return ""
    return (
        f" The network is silent: no neuron of {', '.join(names)} fires in software; train it longer, or "
        "lower its thresholds."
    )


def _listed(failed: Mapping[str, str]) -> str:
    return "; chip ".join(f"{name!r}: {reason}" for name, reason in failed.items())


class _CallerError(Exception):
    """The caller's own function raised, which says nothing of a chip."""

    def __init__(self, error: Exception):
        self.error = error


def _counter(progress: Progress | None, name: str, total: int) -> Callable[[], None]:
    done = itertools.count(1)

    def count() -> None:
        try:
            if progress is not None:
                progress(name, next(done), total)
        except Exception as error:
            raise _CallerError(error) from error

    return count


def _on_chip(
    name: str,
    chip: Chip,
    software: Sequence[Evaluation],
    runs: Sequence[Sequence[Evaluation]],
    timesteps: int,
    draws: int,
    conventions: Any,
) -> OnChip:
    accuracies = np.array([[one.accuracy for one in row] for row in runs])
    accuracies = np.broadcast_to(accuracies, (len(runs), draws)) if accuracies.shape[1] == 1 else accuracies
    record = _mean([one.record for row in runs for one in row])
    # The chip is asked for the network's weights, whatever its devices made of them.
    asked = tuple(
        dataclasses.replace(on_chip, weight_bits=own.weight_bits, weight_sparsity=own.weight_sparsity)
        for on_chip, own in zip(record, software[0].record, strict=True)
    )
    cost = chip.cost(to_workload(asked, timesteps, attention="apart"), conventions)
    # No crossbar holds spikes as its weights: beside one, attention's products are those of a SATA array.
    digital = multiplies_spikes(chip)
    products = attention_costs(asked, timesteps, chip if digital else sata.Accelerator(), conventions)
    whole = WithProducts(cost, products) if digital and products else cost
    # At the rates on the chip, where a network may be silent.
    require_cost(name, whole)
    return OnChip(
        name=name,
        label=chip.label,
        facts=dict(getattr(chip, "facts", {})),
        by_network=accuracies,
        software=np.array([one.accuracy for one in software]),
        record=record,
        cost=whole,
        beside_j={} if digital else {name: float(each.energy_j) for name, each in products.items()},
    )


def _mean(records: Sequence[Sequence[LayerRecord]]) -> tuple[LayerRecord, ...]:
    """Every rate averaged over runs."""
    return jax.tree.map(
        lambda *rates: sum(jnp.asarray(rate) for rate in rates) / len(rates), *map(tuple, records)
    )


def _checked(
    networks: Sequence[Network],
    dataset: Dataset,
    chips: Mapping[str, Chip],
    timesteps: int | None,
    draws: int,
) -> int:
    """T, if everything fits."""
    for one in networks:
        if not isinstance(one, Network):
            raise TypeError(
                f"evaluate takes a Network, or several; got {type(one).__name__}. Read a file with "
                "jaxsnn.interop.nir.from_nir, and torch weights with jaxsnn.interop.torch.load_weights."
            )
    if not networks:
        raise ValueError("evaluate needs at least one network, got none.")
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"evaluate takes a Dataset, got {type(dataset).__name__}; make one of arrays with "
            "Dataset.from_arrays(x, y, test=0.2)."
        )
    if not isinstance(chips, Mapping) or not chips:
        raise ValueError(
            f'evaluate needs chips by name, such as {{"SpikeFlow": spikeflow.Chip()}}; got {chips!r}.'
        )
    for name, chip in chips.items():
        require_chip(name, chip)
    if not is_count(draws):
        raise ValueError(
            f"draws is the number of programmed chips of every design, at least 1; got {draws!r}."
        )
    if timesteps is None:
        if not dataset.timed:
            raise ValueError("timesteps says how long an image is shown; give it, e.g. timesteps=5.")
        timesteps = dataset.event_shape[0]
    for one in networks:
        _check_fit(one, dataset, timesteps)
    return timesteps


def _check_fit(network: Network, dataset: Dataset, timesteps: int) -> None:
    shape = dataset.train_images.shape[1:]
    batch = (shape[0], 1, *shape[1:]) if dataset.timed else (1, *shape)
    try:
        logits, _ = jax.eval_shape(
            lambda images: network(images, timesteps=timesteps, key=jax.random.key(0)),
            jax.ShapeDtypeStruct(batch, jnp.float32),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"the network does not take the inputs of data set {dataset.name!r}, of shape {shape}: {error}"
        ) from error
    outputs = logits.shape[-1]
    if outputs < dataset.classes:
        raise ValueError(
            f"data set {dataset.name!r} has {dataset.classes} classes and the network {outputs} outputs."
        )
    if outputs > dataset.classes:
        warnings.warn(
            f"the network has {outputs} outputs and data set {dataset.name!r} {dataset.classes} classes; the "
            "others are wrong answers.",
            stacklevel=4,
        )
