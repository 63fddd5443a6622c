"""`python -m experiments list` and `python -m experiments run NAME [--set binding=value ...]`."""

import argparse
import hashlib
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from experiments import (
    energy_aware,
    events,
    mitigation,
    mnist,
    noise_aware,
    nonlinear,
    output,
    pipeline,
    registry,
    retention,
    scale,
    search,
    sensitivity,
)
from experiments.figures.png import png
from jaxsnn.codesign.page import render
from jaxsnn.codesign.provenance import all_or_nothing, machine, write_json
from jaxsnn.codesign.table import console as terminal

CATALOGUE = (
    pipeline,
    mnist,
    events,
    energy_aware,
    noise_aware,
    mitigation,
    search,
    sensitivity,
    nonlinear,
    retention,
    scale,
)
"""Modules whose import registers experiments."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what can be run")
    run = commands.add_parser("run", help="run one experiment")
    run.add_argument("name", help="an experiment of the list")
    run.add_argument(
        "--set",
        dest="bindings",
        action="append",
        default=[],
        metavar="BINDING=VALUE",
        help="override a value of the config, e.g. --set TrainConfig.epochs=5; may be given again",
    )
    run.add_argument("--config", type=Path, help="a gin file instead of the experiment's own")
    run.add_argument("--out", type=Path, help="folder of the results (default: runs/NAME, runs/NAME-HASH)")
    run.add_argument(
        "--fresh", action="store_true", help="forget this folder's checkpoints and train from the start"
    )
    run.add_argument("--debug", action="store_true", help="show where an error came from")
    return top


def default_folder(name: str, bindings: list[str], config: Path | None) -> Path:
    """`runs/NAME`, with a hash behind it where the config is not the experiment's own."""
    if not bindings and config is None:
        return Path("runs") / name
    given = "\n".join([config.read_text() if config and config.is_file() else "", *bindings])
    return Path("runs") / f"{name}-{hashlib.sha256(given.encode()).hexdigest()[:8]}"


def list_experiments(console: Console) -> None:
    for item in registry.EXPERIMENTS.values():
        console.print(f"[bold]{item.name:<14}[/bold] {item.summary}", soft_wrap=True)


def run_experiment(options: argparse.Namespace, console: Console) -> None:
    chosen = registry.find_experiment(options.name)
    registry.load(chosen, options.bindings, options.config)
    folder = options.out or default_folder(options.name, options.bindings, options.config)
    shared = None if options.out else Path("runs") / "checkpoints"
    run = output.Run(folder=folder, console=console, shared=shared, fresh=options.fresh)
    if options.fresh:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    started = time.perf_counter()
    result = chosen.function(run)
    config = registry.operative_config()
    provenance = {
        "experiment": chosen.name,
        "inputs": result.inputs,
        "wall_time_s": round(time.perf_counter() - started, 3),
        **machine(),
    }
    with all_or_nothing(folder) as scratch:
        figures = {name: png(figure) for name, figure in result.figures.items()}
        for name, content in figures.items():
            (scratch / f"{name}.png").write_bytes(content)
        (scratch / "operative_config.gin").write_text(config)
        page = render(result.title, result.tables, provenance, figures=figures, config=config)
        (scratch / "report.html").write_text(page, encoding="utf-8")
        write_json(scratch / "result.json", provenance | {"config": config, "numbers": result.numbers})
    for table in result.tables:
        table.print(console)
    console.print(f"{provenance['wall_time_s']:.0f} s. Report: {folder / 'report.html'}", soft_wrap=True)


def _sentence(error: Exception) -> str:
    # gin appends where in the config it was; the first line says what is wrong.
    text = str(error).strip().split("\n")[0]
    if isinstance(error, ValueError | OSError):
        return text
    return f"{type(error).__name__}: {text} (run with --debug to see where)"


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments, argparse.Namespace(debug=False))
    console = terminal()
    try:
        if options.command == "list":
            list_experiments(console)
        else:
            run_experiment(options, console)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on from the last checkpoint.", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            raise
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
