"""Numbers with SI prefixes."""

import math
import re

_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def si(value: float, unit: str) -> str:
    """A number with an SI prefix and two decimals: 1.2e-7 J is 120.00 nJ."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.2f} {unit}"
    # The rounded number decides: 999.999 n is 1.00 µ.
    digits = math.floor(math.log10(float(f"{abs(value):.4e}")))
    power = min(max(3 * (digits // 3), min(_PREFIXES)), max(_PREFIXES))
    return f"{value / 10.0**power:.2f} {_PREFIXES[power]}{unit}"


_POWERS = {prefix: power for power, prefix in _PREFIXES.items()}
_NUMBER = re.compile(r"[±+]?\s*([−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*(?:([fpnµmkMGT]?)([A-Za-zΩ]+))?")
_UNITS = ("J", "s", "W", "A", "V", "Ω", "Hz", "B", "Js")


def number_in(text: str) -> float | None:
    """The number that a cell begins with, in its unit without prefix: 120.00 nJ is 1.2e-7; None for words.

    Whatever follows the first number, such as `± 0.5 %`, is left out.
    """
    found = _NUMBER.match(text.strip())
    if found is None:
        return None
    digits, prefix, unit = found.groups()
    value = float(digits.replace(",", "").replace("−", "-"))
    return value * 10.0 ** _POWERS[prefix] if unit in _UNITS else value
