import json
import os

import pytest

from experiments.__main__ import main


def test_absent_files_are_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("JAXSNN_DATA", raising=False)
    assert main(["run", "mnist", "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "JAXSNN_DATA" in message
    assert message.count("\n") == 1


@pytest.mark.long
def test_a_vgg5_reaches_99_percent(tmp_path):
    if "JAXSNN_DATA" not in os.environ:
        pytest.fail("put MNIST's files into a folder mnist/ and name the folder around it in JAXSNN_DATA")
    assert main(["run", "mnist", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["numbers"]["software_accuracy"] >= 0.99
