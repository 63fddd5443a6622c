"""Numbers with SI prefixes."""

import math

_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def si(value: float, unit: str) -> str:
    """A number with an SI prefix and two decimals: 1.2e-7 J is 120.00 nJ."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.2f} {unit}"
    # The rounded number decides: 999.999 n is 1.00 µ.
    digits = math.floor(math.log10(float(f"{abs(value):.4e}")))
    power = min(max(3 * (digits // 3), min(_PREFIXES)), max(_PREFIXES))
    return f"{value / 10.0**power:.2f} {_PREFIXES[power]}{unit}"
