"""Set up an environment of our own, once, and run the project in it.

python3 bootstrap.py run [options]     the main job: images to a chip report
python3 bootstrap.py test [options]    the tests
python3 bootstrap.py docs [options]    the documentation, built and served at http://127.0.0.1:8000
python3 bootstrap.py python ARGS       anything else, e.g. `python3 bootstrap.py python -m experiments list`

Needs Python 3.11 or newer and nothing else. The environment lies in `.venv`; it is made on the first call and
reused until `pyproject.toml` or `constraints.txt` changes.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "installed.json"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "run": (["experiments", "interop"], ["-m", "experiments", "run", "digits"]),
    "test": (
        ["data", "dev", "docs", "experiments", "interop", "notebook", "tensorboard", "test"],
        ["-m", "pytest"],
    ),
    "docs": (["docs"], ["-m", "mkdocs", "serve"]),
    "python": (["experiments", "interop"], []),
}


def _has_pip() -> bool:
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0


def set_up(extras: list[str]) -> None:
    """Install the project with these extras, unless an earlier call did."""
    pinned = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    fingerprint = hashlib.sha256(pinned + sys.version.encode()).hexdigest()
    installed = json.loads(STAMP.read_text()) if STAMP.exists() else {}
    known = set(installed.get("extras", [])) if installed.get("fingerprint") == fingerprint else None
    if known is not None and known >= set(extras):
        return
    print(f"Setting up {ENVIRONMENT} (a minute or two, once) ...", flush=True)
    if not _has_pip():
        # Anew, also over a half-made one: where ensurepip is missing, venv fails after the interpreter.
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    wanted = sorted((known or set()) | set(extras))
    project = f"{ROOT}[{','.join(wanted)}]" if wanted else str(ROOT)
    pins = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run(
        [
            PYTHON,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *pins,
            "--editable",
            project,
        ],
        check=True,
    )
    # Written last: a set-up that was interrupted is done again.
    STAMP.write_text(json.dumps({"fingerprint": fingerprint, "extras": wanted}))


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):
        print(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}.", file=sys.stderr)
        return 2
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    extras, command = COMMANDS[arguments[0]]
    try:
        set_up(extras)
    except KeyboardInterrupt:
        print("stopped; run the same command again to finish the set-up.", file=sys.stderr)
        return 130
    except (subprocess.CalledProcessError, OSError) as error:
        print(
            f"error: the set-up failed ({error}). It needs Python's venv module (on Debian and Ubuntu the "
            "package python3-venv) and a package index that pip can reach; run the same command again.",
            file=sys.stderr,
        )
        return 2
    # Tests and documentation need their folder; everything else runs where the user stands.
    process = subprocess.Popen(
        [PYTHON, *command, *arguments[1:]], cwd=ROOT if command[1:2] in (["pytest"], ["mkdocs"]) else None
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait()  # It was interrupted too, and says itself how to go on.


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
