"""Train spiking networks, put them on modelled chips, and report what survives and what it costs."""

import argparse
import hashlib
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from experiments import (
    BEGAN,
    energy_aware,
    events,
    mitigation,
    mnist,
    noise_aware,
    nonlinear,
    output,
    parity,
    pipeline,
    registry,
    retention,
    scale,
    search,
    sensitivity,
    zoo,
)
from experiments.chip_file import read_chip_file
from experiments.figures.png import png
from experiments.pieces import Paused, Piece
from jaxsnn.codesign import cli
from jaxsnn.codesign.on_chip import CSV, chip_rows, has_chips
from jaxsnn.codesign.page import render
from jaxsnn.codesign.provenance import all_or_nothing, machine, require_room, write_csv, write_json
from jaxsnn.codesign.table import show
from jaxsnn.compilation import remember_compiled
from jaxsnn.learning.lock import locked

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
    parity,
    zoo,
)
"""Modules whose import registers experiments."""


PAUSED = 75
"""Exit status of a run that has more to do: sysexits' EX_TEMPFAIL."""

_RUN_EXAMPLES = """examples:
  python -m experiments run digits
  python -m experiments run digits --set TrainConfig.epochs=10 --set digits.draws=3
  python -m experiments run noise_aware --config experiments/configs/noise_aware_mnist.gin --out result

A run that was stopped goes on from its last checkpoint; --fresh starts over.
"""
_EXAMPLES = """examples:
  python -m experiments list
  python -m experiments run digits
  python -m experiments evaluate --network model.nir --data mnist --chip my_chip.gin --out result
  python -m experiments compare runs/digits result
  python -m experiments describe Chip
"""


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="python -m experiments", description=__doc__, epilog=_EXAMPLES, formatter_class=raw
    )
    top.set_defaults(began=None)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="what can be run, and how long it took")
    listed.set_defaults(function=lambda options, console: list_experiments(console))
    run = commands.add_parser("run", help="run one experiment", epilog=_RUN_EXAMPLES, formatter_class=raw)
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
    run.add_argument(
        "--minutes",
        type=float,
        help="pause at a saved point before this time is over, with exit status 75; the same command goes on",
    )
    run.set_defaults(function=_run)
    cli.add_commands(commands, "python -m experiments", read_chip_file)
    return top


def default_folder(name: str, bindings: list[str], config: Path | None) -> Path:
    """`runs/NAME`, with a hash behind it where the config is not the experiment's own."""
    if not bindings and config is None:
        return Path("runs") / name
    given = "\n".join([config.read_text() if config and config.is_file() else "", *bindings])
    return Path("runs") / f"{name}-{hashlib.sha256(given.encode()).hexdigest()[:8]}"


def list_experiments(console: Console) -> None:
    for item in registry.EXPERIMENTS.values():
        took = f" [dim]({item.took})[/dim]" if item.took else ""
        console.print(f"[bold]{item.name:<14}[/bold] {item.summary}{took}", soft_wrap=True, highlight=False)


def run_experiment(options: argparse.Namespace, console: Console) -> None:
    if options.fresh and options.minutes is not None:
        raise registry.ConfigError("--fresh starts over in each piece of --minutes; give one of them.")
    piece = Piece(options.minutes, options.began)
    chosen = registry.find_experiment(options.name)
    registry.load(chosen, options.bindings, options.config)
    folder = options.out or default_folder(options.name, options.bindings, options.config)
    registry.rehearse(lambda: chosen.function(output.Run(folder=folder, console=console)))
    remedy = "give another folder with --out"
    with locked(folder, remedy):
        require_room(folder, f"a run of {chosen.name}", remedy)
        _run_in(folder, chosen, options, console, piece)


def _run_in(
    folder: Path, chosen: registry.Experiment, options: argparse.Namespace, console: Console, piece: Piece
) -> None:
    shared = None if options.out else Path("runs") / "checkpoints"
    run = output.Run(folder=folder, console=console, shared=shared, fresh=options.fresh, piece=piece)
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
        for name, content in result.files.items():
            (scratch / name).write_bytes(content)
        (scratch / "operative_config.gin").write_text(config)
        page = render(
            result.title,
            result.tables,
            provenance,
            figures=figures,
            charts=result.charts,
            config=config,
            verdict=result.verdict,
            links=["result.json", *result.files, *([CSV] if has_chips(result.numbers) else [])],
        )
        if has_chips(result.numbers):
            write_csv(scratch / CSV, chip_rows(result.numbers))
        (scratch / "report.html").write_text(page, encoding="utf-8")
        write_json(scratch / "result.json", provenance | {"config": config, "numbers": result.numbers})
    show(console, result.verdict, result.tables)
    console.print(f"{provenance['wall_time_s']:.0f} s. Report: {folder / 'report.html'}", soft_wrap=True)


def _run(options: argparse.Namespace, console: Console) -> int:
    """Its exit status."""
    remember_compiled()
    try:
        run_experiment(options, console)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on from the last checkpoint.", file=sys.stderr)
        return 130
    except Paused as paused:
        # Its further lines are gin's, of where it passed.
        print(str(paused).splitlines()[0], file=sys.stderr)
        return PAUSED
    return 0


def main(arguments: list[str] | None = None, began: float | None = None) -> int:
    """Exit status of a command; `began` is when the time of `--minutes` did, by default now."""
    options = parser().parse_args(arguments, argparse.Namespace(debug=False))
    options.began = began
    return cli.run(options)


if __name__ == "__main__":
    raise SystemExit(main(began=BEGAN))
