"""Networks to ship: trained, tried on chips, and written with their facts."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments import registry
from experiments.output import Result, Run
from experiments.parity.ledger import said
from experiments.parity.library import Library
from experiments.parity.recipes import Recipe, first
from hwmodels import spikeflow
from hwmodels.chip import require_chip
from jaxsnn.codesign import evaluate
from jaxsnn.codesign.noise_aware import Between, NoiseAware
from jaxsnn.codesign.on_chip import with_spread
from jaxsnn.codesign.report import Report
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.units import si
from jaxsnn.data.dataset import Dataset
from jaxsnn.models.pretrained import as_file


def on_chip(chip: spikeflow.Chip, every: int, between: Between = "reuse") -> NoiseAware:
    """Training on the tiles of a chip, behind its converters; see
    [`NoiseAware`][jaxsnn.codesign.noise_aware.NoiseAware]."""
    found = chip.arithmetic()
    return NoiseAware(found.crossbar, found.converters, every=every, between=between)


make_on_chip = registry.register(on_chip, name="OnChip")

LARGEST = 2 * 2**20
"""Bytes of one file."""


@registry.experiment("zoo", "train the small networks that ship, try them on ten chips, write them")
def zoo(
    run: Run,
    *,
    seed: int,
    draws: int,
    datasets: dict[str, Dataset],
    recipes: dict[str, Recipe],
    shipped: dict[str, str],
    chips: dict[str, Any],
    images: int | None = None,
) -> Result:
    """Train, evaluate on chips, write `NAME.safetensors`: copy the files to `jaxsnn/models/weights`.

    **Arguments:**

    - `seed`: of the chips' devices.
    - `draws`: programmed chips of every design.
    - `datasets`, `recipes`: as for [`parity`][experiments.parity.experiment.parity].
    - `shipped`: the recipe of each network by the name that it gets.
    - `chips`: by the names that facts call them.
    - `images`: no more test images than these, from the first on.

    **Raises:** `ValueError` for a network larger than 2 MiB, and for a recipe that is not given.
    """
    for name, chip in chips.items():
        require_chip(name, chip)
    missing = set(shipped.values()) - set(recipes)
    if missing:
        raise ValueError(
            f"zoo.shipped names the recipe {sorted(missing)[0]!r}; there are {', '.join(recipes)}."
        )
    registry.require_all_used()
    library = Library(run, recipes, datasets)
    files, facts = {}, {}
    for name, recipe_name in shipped.items():
        recipe, dataset = recipes[recipe_name], first(library.dataset(recipe_name), None, images)
        network = library[recipe_name]
        report = evaluate(
            network, dataset, chips, timesteps=recipe.timesteps, draws=draws, key=jax.random.key(seed)
        )
        facts[name] = _facts(library, recipe_name, dataset, report)
        content = as_file(network, recipe.model(dataset), facts[name])
        if len(content) > LARGEST:
            raise ValueError(f"{name} takes {len(content)} bytes and may take {LARGEST}; ship a smaller one.")
        files[f"{name}.safetensors"] = content
    return Result(
        title="A zoo of networks with their chips",
        inputs={"datasets": {name: data.fingerprint for name, data in datasets.items()}, "seed": seed},
        numbers={"networks": facts},
        tables=[zoo_table(facts)],
        files=files,
    )


def _facts(library: Library, name: str, dataset: Dataset, report: Report) -> dict[str, Any]:
    recipe = library.recipes[name]
    return {
        "data": dataset.name,
        "mean": list(np.atleast_1d(dataset.mean).astype(float)),
        "std": list(np.atleast_1d(dataset.std).astype(float)),
        "timesteps": recipe.timesteps,
        "trained_on_chips": recipe.on_chip is not None,
        "software_accuracy": report.software_accuracy,
        "test_images": len(dataset.test_labels),
        "chips": {
            chip.name: {
                "accuracy": float(chip.accuracy),
                "spread": chip.measured_spread,
                "energy_j": float(chip.energy_j),
                "latency_s": float(chip.latency_s),
            }
            for chip in report.chips.values()
        },
        "seed": recipe.seed,
        "recipes": said(library.lineage(name)),
    }


def zoo_table(facts: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a network: software, then each chip."""
    chips = list(dict.fromkeys(chip for each in facts.values() for chip in each["chips"]))
    cells = []
    for name, each in facts.items():
        row = [name, each["data"], str(each["timesteps"]), f"{each['software_accuracy']:.2%}"]
        for chip in chips:
            found = each["chips"].get(chip)
            row.append(
                "–"
                if found is None
                else f"{with_spread(found['accuracy'], found['spread'])}, {si(found['energy_j'], 'J')}"
            )
        cells.append(row)
    return Table("Networks on chips", ["network", "data", "T", "software", *chips], cells)
