"""The glossary says what the classes are: every parameter, its default, its range as the class checks it."""

import dataclasses
import inspect

import pytest

import hwmodels
from hwmodels import adc, crossbar, sata, search, spikeflow
from hwmodels.crossbar import laws, write_verify
from jaxsnn.codesign import glossary


@pytest.mark.parametrize("name", glossary.DESCRIBED)
def test_every_parameter_is_there_with_a_meaning_and_its_default(name):
    described = glossary.DESCRIBED[name]
    entries = {entry.name: entry for entry in glossary.entries(described)}
    assert entries
    assert glossary.summary_of(described)
    if dataclasses.is_dataclass(described):
        assert list(entries) == [field.name for field in dataclasses.fields(described) if field.init]
    if name not in ("Components", "Readout"):
        assert not [entry for entry in entries.values() if not entry.meaning]


def test_every_public_frozen_class_of_the_models_is_there():
    rooms = (hwmodels, adc, crossbar, laws, sata, search, spikeflow, write_verify)
    public = {
        each
        for room in rooms
        for name in dir(room)
        if not name.startswith("_") and inspect.isclass(each := getattr(room, name))
        if dataclasses.is_dataclass(each)
        and not inspect.isabstract(each)
        and each.__module__.startswith("hwmodels.")
    }
    assert {crossbar.WriteVerify, crossbar.Sinh, adc.AsBuilt, spikeflow.Conventions} < public
    assert public <= set(glossary.DESCRIBED.values())


@pytest.mark.parametrize("bound", ["low", "high"])
@pytest.mark.parametrize("name", ["crossbar_rows", "adc_bits", "node_nm", "pipeline_start"])
def test_a_range_of_the_glossary_is_the_one_that_the_chip_holds_to(name, bound):
    (entry,) = (entry for entry in glossary.entries(spikeflow.Chip) if entry.name == name)
    low, high = (float(text) for text in entry.range.strip("[]").split(","))
    outside = low / 2 if bound == "low" else high * 2
    with pytest.raises(ValueError, match=name):
        spikeflow.Chip(**{name: outside})
    if name != "crossbar_rows" or bound == "high":
        spikeflow.Chip(**{name: low if bound == "low" else high})


def test_constants_have_units_and_sources():
    entries = {entry.name: entry for entry in glossary.entries(spikeflow.Components)}
    assert all(entry.source for entry in entries.values())
    assert entries["tile_buffer_j"].unit == "J"
    assert entries["h_tree_um2"].unit == "µm²"


def test_a_misspelt_name_gets_the_nearest():
    assert glossary.find("chip") is spikeflow.Chip
    with pytest.raises(ValueError, match="called 'Chp'; did you mean 'Chip'"):
        glossary.find("Chp")


def test_the_page_of_the_documentation_has_a_row_for_each():
    text = glossary.markdown()
    for name, described in glossary.DESCRIBED.items():
        assert f"## {name}\n" in text
        for entry in glossary.entries(described):
            assert f"| `{entry.name}` |" in text
