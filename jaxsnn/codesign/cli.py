"""The command line: evaluate a network on chips, compare results, describe parameters."""

import argparse
import hashlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxsnn.checks import require_count
from jaxsnn.codesign.sources import CHIPS, MODELS, ChipReader, read_chips, read_data, read_network
from jaxsnn.codesign.table import console as terminal
from jaxsnn.codesign.table import show

_EXAMPLES = """examples:
  {prog} evaluate --network model.nir --data arrays.npz --chip spikeflow --timesteps 8 --out result
  {prog} evaluate --network digits_convnet --data digits --chip sata --draws 2
  {prog} compare result other-result
  {prog} describe Chip
"""


def add_commands(commands: Any, prog: str, read_chip_file: ChipReader | None = None) -> None:
    """Adds `evaluate`, `compare` and `describe` to a parser's commands.

    **Arguments:** `read_chip_file`: reads chips from a file; without it, chips are those of
    [`jaxsnn.codesign.sources.CHIPS`][].
    """
    raw = argparse.RawDescriptionHelpFormatter
    files = ", or FILE.gin" if read_chip_file is not None else ""

    command = commands.add_parser(
        "evaluate",
        help="accuracy, joules, seconds and mm² of a network on chips",
        description="Accuracy of a network on programmed chips, and what an inference costs there.",
        epilog=f"""examples:
  {prog} evaluate --network model.nir --data arrays.npz --chip spikeflow --timesteps 8 --out result
  {prog} evaluate --network weights.safetensors --data ./mnist --chip sata --timesteps 4 --json
  {prog} evaluate --network digits_convnet --data digits --chip spikeflow --chip sata --draws 2

FILE.npz holds arrays x (images) and y (labels), and x_test and y_test if the test split is given; five axes
of x are (count, timesteps, height, width, channels). FOLDER is called like its data set (mnist, cifar10,
...). A network by NAME is trained first.
""",
        formatter_class=raw,
    )
    command.add_argument(
        "--network",
        required=True,
        metavar="NETWORK",
        help=f"FILE.nir, FILE.safetensors, or one of {', '.join(MODELS)}",
    )
    command.add_argument(
        "--data", required=True, metavar="DATA", help="a data set's NAME, a FOLDER, or FILE.npz"
    )
    command.add_argument(
        "--chip",
        required=True,
        action="append",
        metavar="CHIP",
        help=f"{' or '.join(CHIPS)}{files}; may be given again",
    )
    command.add_argument(
        "--draws", type=int, default=10, help="programmed chips of each design (default: 10)"
    )
    command.add_argument(
        "--timesteps",
        type=int,
        help="T (default: 5 for images, all that FILE.npz has where x has a time axis; event sets need it)",
    )
    command.add_argument(
        "--dt",
        type=_step,
        default="auto",
        metavar="SECONDS",
        help="a timestep of FILE.nir, in the unit of its time constants (default: what the file tells)",
    )
    command.add_argument("--epochs", type=int, default=10, help="of training a network by NAME (default: 10)")
    command.add_argument(
        "--leak", type=float, default=0.9, help="λ of neurons that no file tells (default: 0.9)"
    )
    command.add_argument(
        "--threshold", type=float, default=1.0, help="θ of neurons that no file tells (default: 1)"
    )
    command.add_argument(
        "--seed", type=_seed, default=0, help="of devices, and of training, below 2**32 (default: 0)"
    )
    command.add_argument(
        "--conventions", choices=("corrected", "published"), default="corrected", help="of the cost models"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.html, result.json and result.csv there"
    )
    command.add_argument("--json", action="store_true", help="print result.json instead of tables")
    command.set_defaults(function=lambda options, console: _evaluate(options, console, read_chip_file))

    command = commands.add_parser(
        "compare",
        help="two or more result folders side by side",
        description="What differs in the numbers of results, and what differed in their inputs.",
        epilog=f"example:\n  {prog} compare runs/digits runs/digits-1a2b3c4d --out difference\n",
        formatter_class=raw,
    )
    command.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="holds the result.json of `evaluate` or `run`"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.html, result.json and result.csv there"
    )
    command.add_argument("--json", action="store_true", help="print the differences as JSON")
    command.set_defaults(function=_compare)

    command = commands.add_parser(
        "describe",
        help="every parameter of a chip, circuit, neuron or training",
        description="Meaning, default, unit, range and source of every parameter.",
        epilog=f"examples:\n  {prog} describe            what can be described\n  {prog} describe Chip\n",
        formatter_class=raw,
    )
    command.add_argument("name", nargs="?", help="such as Chip, Accelerator, Device, Wires, LIF, TrainConfig")
    command.add_argument("--json", action="store_true", help="print as JSON")
    command.set_defaults(function=_describe)

    for command in commands.choices.values():
        # Suppressed, lest it take back what stands before the command.
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show where an error came from"
        )


def _seed(text: str) -> int:
    """A key keeps 32 bits of a seed: others would name a chip that another number names too."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {2**32 - 1}, got {text}")
    return int(text)


def _step(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a number of seconds or auto, got {text}") from error


def parser() -> argparse.ArgumentParser:
    """The parser of the console script."""
    from jaxsnn import __version__

    top = argparse.ArgumentParser(
        prog="spikechip",
        description="Put spiking networks on modelled chips: what accuracy survives, and what it costs.",
        epilog=_EXAMPLES.format(prog="spikechip"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"spikechip {__version__}")
    top.add_argument("--debug", action="store_true", help="show where an error came from")
    add_commands(top.add_subparsers(dest="command", required=True, metavar="COMMAND"), "spikechip")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script: 0, or 2 after one sentence on what is wrong."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Runs a parsed command, and says mistakes in one sentence; 0 unless the command says otherwise."""
    try:
        return options.function(options, terminal()) or 0
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2


def sentence(error: Exception) -> str:
    """What an error says, in one line."""
    # A check within a compiled program is wrapped by XLA, its own sentence some lines below.
    checked = re.search(r"EquinoxRuntimeError: (.+)", str(error))
    if checked:
        return checked[1]
    text = " ".join(str(error).strip().split("\n")[0].split())
    if isinstance(error, ValueError | OSError):
        return text
    return f"{type(error).__name__}: {text} (run with --debug to see where)"


def _evaluate(options: argparse.Namespace, console: Console, read_chip_file: ChipReader | None) -> None:
    # What is cheap to refuse is refused before anything is read or trained.
    for name in ("draws", "timesteps", "epochs"):
        value = getattr(options, name)
        if value is not None:
            require_count(f"--{name}", value)
    chips = read_chips(options.chip, read_chip_file)
    with _saving(options.out, "an evaluation") as scratch:
        report = _evaluated(options, chips)
        if scratch is not None:
            report.write(scratch)
    if options.json:
        _print_json(report.result())
        return
    show(console, report.verdict, report.tables())
    if options.out is not None:
        console.print(f"Report: {options.out / 'report.html'}", soft_wrap=True)
    else:
        console.print("Add --out DIR for report.html, result.json and result.csv.", soft_wrap=True)


_REMEDY = "give another folder with --out"


def _saving(folder: Path | None, kind: str) -> AbstractContextManager[Path | None]:
    """The folder is checked, and held, before there is any work to lose."""
    from jaxsnn.codesign.provenance import saving

    return nullcontext() if folder is None else saving(folder, kind, _REMEDY)


def _evaluated(options: argparse.Namespace, chips: Mapping[str, Any]) -> Any:
    import jax

    from jaxsnn.codesign.evaluate import evaluate
    from jaxsnn.learning.config import TrainConfig
    from jaxsnn.learning.training import fit

    quiet = Console(stderr=True)
    with _one_line_warnings():
        data = read_data(options.data, timesteps=options.timesteps)
    timesteps = options.timesteps or (data.event_shape[0] if data.timed else 5)
    network, trained = read_network(
        options.network,
        data,
        leak=options.leak,
        threshold=options.threshold,
        seed=options.seed,
        dt=options.dt,
    )
    inputs = {"network": _origin(options)}
    with _one_line_warnings():
        if not trained:
            quiet.print(
                f"training {options.network} on {data.name} for {options.epochs} epochs", soft_wrap=True
            )
            config = TrainConfig(epochs=options.epochs, timesteps=timesteps, seed=options.seed)
            inputs["training"] = config.facts()
            fit(network, data, config, progress=quiet.is_terminal)
        with _progress(quiet) as progress:
            report = evaluate(
                network,
                data,
                chips,
                timesteps=timesteps,
                draws=options.draws,
                key=jax.random.key(options.seed),
                conventions=options.conventions,
                progress=progress,
            )
    return replace(report, inputs={**report.inputs, **inputs})


def _origin(options: argparse.Namespace) -> dict[str, Any]:
    """Where the network came from: a file by its content, or a name and what it was made with."""
    path = Path(options.network)
    origin: dict[str, Any] = {"name": path.name}
    if path.is_file():
        origin["file_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    else:
        origin["seed"] = options.seed
    # A graph tells its neurons itself.
    return (
        origin if path.suffix == ".nir" else origin | {"leak": options.leak, "threshold": options.threshold}
    )


def _compare(options: argparse.Namespace, console: Console) -> None:
    from jaxsnn.codesign.compare import compare, require_not_compared

    if options.out is not None:
        require_not_compared(options.out, options.folders, _REMEDY)
    with _saving(options.out, "a comparison") as scratch:
        found = compare(options.folders)
        if scratch is not None:
            found.write(scratch)
    if options.json:
        _print_json({"compared": list(found.results), **found.numbers()})
        return
    show(console, found.verdict, found.tables())


def _describe(options: argparse.Namespace, console: Console) -> None:
    from dataclasses import asdict

    from jaxsnn.codesign import glossary

    if options.name is None:
        known = {name: glossary.summary_of(described) for name, described in glossary.DESCRIBED.items()}
        if options.json:
            _print_json(known)
            return
        for name, summary in known.items():
            console.print(f"[bold]{name:<14}[/bold] ", end="")
            console.print(summary, soft_wrap=True, markup=False)
        return
    described = glossary.find(options.name)
    if options.json:
        _print_json([asdict(entry) for entry in glossary.entries(described)])
        return
    glossary.table(described).print(console)


def _print_json(content: Any) -> None:
    from jaxsnn.codesign.provenance import plain

    print(json.dumps(content, indent=1, default=plain, allow_nan=False))


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    def show(message, *_):
        print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar over the programmed chips of each design, in a terminal."""
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        tasks: dict[str, Any] = {}

        def advance(chip: str, done: int, total: int) -> None:
            if chip not in tasks:
                tasks[chip] = bar.add_task(chip if len(chip) <= 36 else f"{chip[:35]}…", total=total)
            bar.update(tasks[chip], completed=done)

        yield advance


if __name__ == "__main__":
    raise SystemExit(main())
