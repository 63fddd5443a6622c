"""The one invariant: the right answer by an independent reference, or one sentence about the input."""

import re
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

ROOT = Path(__file__).parents[2]
OWN = tuple(str(ROOT / package) for package in ("jaxsnn", "hwmodels", "experiments"))
TALLY: dict[str, Counter] = defaultdict(Counter)
"""By subject, how many situations came out "right" and "refused", and of damaged files how many were read as
"altered", for want of a checksum in their format; printed and stored at the end."""


class Refused:
    """What a reference says of a situation that has no right answer."""


REFUSED = Refused()
EITHER = object()
"""Of a situation that may be refused or answered; the answer is not compared."""


def check(act: Callable[[], Any], expected: Any, *names: str, rtol: float = 1e-9, atol: float = 0.0) -> str:
    """Runs a situation and says how it came out.

    **Arguments:** `act`: what the user does. `expected`: the right answer, [`REFUSED`][] or `EITHER`.
    `names`: words of which a refusal must have one.

    **Raises:** `AssertionError` for a wrong answer, one where there is none, and an error that is no
    sentence.
    """
    try:
        found = jax.tree.map(np.asarray, act())
    except Exception as error:
        require_sentence(error, names)
        if expected is not REFUSED and expected is not EITHER:
            raise AssertionError(f"refused, though the answer is {expected}: {error}") from error
        return "refused"
    assert expected is not REFUSED, f"accepted, and the answer was {found}"
    if expected is not EITHER:
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
    return "right"


def require_sentence(error: Exception, names: tuple[str, ...] = ()) -> None:
    """That an error is ours: raised in our code, one sentence long, with a word about the input."""
    text = str(error).strip()
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    # Checks of values that are known only when a program runs are raised by a callback, which adds its stack,
    # from Python 3.13 on with the lines of the source that hold the sentence.
    at_run_time = re.search(r"^(?:[\w.]+: )?(crossbar: [^\n]*)", text, re.MULTILINE)
    assert last.startswith(OWN) or at_run_time, f"a library's error: {type(error).__name__}: {text[:300]}"
    sentence = text if last.startswith(OWN) else at_run_time[1].strip()
    assert "\n" not in sentence, f"more than a sentence: {sentence}"
    assert sentence.endswith("."), f"no sentence: {sentence!r}"
    assert not names or any(name in sentence for name in names), f"does not name the input: {sentence}"
