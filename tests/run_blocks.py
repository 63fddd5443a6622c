"""Runs the code blocks of Markdown files, each file in a namespace and an empty folder of its own.

`python tests/run_blocks.py FILE.md ...`. Code in a comment `<!--setup ... -->` runs too, where it stands: it
makes the files that a reader would bring.
"""

import os
import re
import sys
import tempfile
import time
from pathlib import Path

BLOCK = re.compile(r"^(?:```python\n(.*?)^```$|<!--setup\n(.*?)^-->$)", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[int, str]]:
    """(line, code) of every block."""
    return [(text.count("\n", 0, found.start()) + 1, found[1] or found[2]) for found in BLOCK.finditer(text)]


def run(path: Path) -> None:
    """Run a file's blocks one after the other.

    **Raises:** what a block raises, with the file and line in the traceback.
    """
    namespace: dict = {"__name__": "__main__"}
    for line, code in blocks(path.read_text(encoding="utf-8")):
        exec(compile("\n" * line + code, str(path), "exec"), namespace)


def main(names: list[str]) -> None:
    # This folder has packages called like ours; and what a reader needs does not lie in the application.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    sys.modules["experiments"] = None
    for path in [Path(name).resolve() for name in names]:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            run(path)
            os.chdir(path.parent)
        print(f"{path.name}: {time.perf_counter() - started:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
