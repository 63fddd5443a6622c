"""The set-up script, without setting anything up."""

import json

import pytest

import bootstrap


@pytest.fixture
def installs(monkeypatch, tmp_path):
    """The pip calls of `set_up`, in an empty environment folder."""
    calls = []
    environment = tmp_path / ".venv"
    environment.mkdir()
    python = environment / "python"
    python.touch()
    monkeypatch.setattr(bootstrap, "PYTHON", python)
    monkeypatch.setattr(bootstrap, "STAMP", environment / "installed.json")
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda command, **_: calls.append(command))
    return calls


def test_a_second_call_reuses_the_environment(installs):
    bootstrap.set_up([])
    bootstrap.set_up([])
    assert len(installs) == 1


def test_extras_add_up(installs):
    bootstrap.set_up([])
    bootstrap.set_up(["test"])
    bootstrap.set_up([])
    assert [str(call[-1]) for call in installs] == [str(bootstrap.ROOT), f"{bootstrap.ROOT}[test]"]


def test_changed_pins_install_again(installs):
    bootstrap.set_up(["test"])
    bootstrap.STAMP.write_text(json.dumps({"fingerprint": "of other pins", "extras": ["test"]}))
    bootstrap.set_up(["test"])
    assert len(installs) == 2


def test_an_unknown_command_prints_the_usage(capsys):
    assert bootstrap.main(["fly"]) == 2
    assert "bootstrap.py run" in capsys.readouterr().err


def test_pins_hold_no_address():
    pins = (bootstrap.ROOT / "constraints.txt").read_text().split()
    assert pins
    assert all("==" in pin and "/" not in pin for pin in pins)
