"""`python -m experiments.benchmarks NAME [--save]`: measure, print, and store with the machine named."""

import argparse
import importlib
import pkgutil
from pathlib import Path

from experiments import benchmarks
from jaxsnn.codesign.provenance import machine, write_json
from jaxsnn.codesign.table import Table, console

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_"]
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks", description=__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument(
        "--save", action="store_true", help="store it as experiments/results/benchmark_NAME.json"
    )
    options = parser.parse_args()
    found = importlib.import_module(f"experiments.benchmarks.{options.name}").run()
    columns = list(dict.fromkeys(column for row in found["rows"] for column in row))
    rows = [[_cell(row.get(column)) for column in columns] for row in found["rows"]]
    terminal = console()
    Table(found["title"], columns, rows).print(terminal)
    for note in found["notes"]:
        terminal.print(f"- {note}")
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"benchmark_{options.name}.json"
        write_json(path, found | machine())
        terminal.print(f"stored in {path}")


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
