"""The set-up script, without setting anything up."""

import json
import subprocess

import pytest

import bootstrap


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What `set_up` runs, in an empty environment folder with an interpreter that has pip."""
    calls = []
    environment = tmp_path / ".venv"
    environment.mkdir()
    python = environment / "python"
    python.touch()
    monkeypatch.setattr(bootstrap, "PYTHON", python)
    monkeypatch.setattr(bootstrap, "STAMP", environment / "installed.json")

    def run(command, **_):
        calls.append([str(word) for word in command])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(bootstrap.subprocess, "run", run)
    return calls


@pytest.fixture
def installs(commands):
    """Of those, the calls of `pip install` so far, looked at when the test asks."""
    return lambda: [command for command in commands if "install" in command]


def test_a_second_call_reuses_the_environment(installs):
    bootstrap.set_up([])
    bootstrap.set_up([])
    assert len(installs()) == 1


def test_extras_add_up(installs):
    bootstrap.set_up([])
    bootstrap.set_up(["test"])
    bootstrap.set_up([])
    assert [command[-1] for command in installs()] == [str(bootstrap.ROOT), f"{bootstrap.ROOT}[test]"]


def test_changed_pins_install_again(installs):
    bootstrap.set_up(["test"])
    bootstrap.STAMP.write_text(json.dumps({"fingerprint": "of other pins", "extras": ["test"]}))
    bootstrap.set_up(["test"])
    assert len(installs()) == 2


def test_a_half_made_environment_is_made_anew(commands, monkeypatch):
    monkeypatch.setattr(bootstrap, "_has_pip", lambda: False)
    bootstrap.set_up([])
    assert commands[0][1:4] == ["-m", "venv", "--clear"]


def test_an_unknown_command_prints_the_usage(capsys):
    assert bootstrap.main(["fly"]) == 2
    assert "bootstrap.py run" in capsys.readouterr().err


def test_pins_hold_no_address():
    pins = (bootstrap.ROOT / "constraints.txt").read_text().split()
    assert pins
    assert all("==" in pin and "/" not in pin for pin in pins)
