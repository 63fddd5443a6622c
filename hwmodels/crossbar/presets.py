"""Measured cells: what the literature and the standard simulators know of them, as devices.

Every constant is a fact of the named figure or table. Where a paper shows a figure alone, the numbers are the
fit to it that a public simulator uses, and that simulator is named; statistics of 1e5 devices of both are
compared in the tests. None of these sources publishes how the numbers depend on temperature: they hold at
the temperature of the measurement (room temperature), and no preset has a temperature.
"""

from collections.abc import Callable

from hwmodels.crossbar.device import Device, ReadNoise
from hwmodels.crossbar.laws import InversePower, Logarithmic, Polynomial, Saturating
from hwmodels.crossbar.retention import ProgrammingError, Relaxation, StateDrift
from hwmodels.workload import Scalar

_US = 1e-6
_DAY_S = 86400.0


def memristor_bhattacharjee() -> Device:
    """The cells of "Examining the robustness of SNNs on non-ideal memristive crossbars": 20 kΩ to 200 kΩ.

    σ/µ = 10 % (section IV-B). The paper gives neither read noise nor drift.
    """
    return Device()


def pcm_nandakumar_2019(time_s: Scalar = 0.0, g_max_siemens: Scalar = 25e-6) -> Device:
    r"""Phase-change memory, doped GST mushroom cells, 0 to 25 µS, as aihwkit's `PCMLikeNoiseModel` has it.

    Programming error $0.26348 + 1.9650\,x - 1.1731\,x^2$ µS, $x = g/g_\mathrm{max}$; drift exponents of mean
    $-0.0155\ln x + 0.0244$ within 0.049 to 0.1 and spread $-0.0125\ln x - 0.0059$ within 0.008 to 0.045,
    first read at 20 s; 1/f noise $Q = \min(0.0088\,x^{-0.65}, 0.2)$, reads of 250 ns.

    **Arguments:**

    - `time_s`: since the first read.
    - `g_max_siemens`: for another range; all of the above scales with it, as in aihwkit.

    **Source:** Nandakumar et al., "Phase-change memory models for deep learning training and inference",
    ICECS 2019, section III; aihwkit 1.1.0, `inference/noise/pcm.py`.
    """
    scale = g_max_siemens / 25.0
    programming = Polynomial((0.26348 * scale, 1.9650 * scale, -1.1731 * scale), g_max_siemens)
    drift = StateDrift(
        mean=Logarithmic(-0.0155, 0.0244, 0.049, 0.1, g_max_siemens),
        spread=Logarithmic(-0.0125, -0.0059, 0.008, 0.045, g_max_siemens),
        flicker=InversePower(0.0088, 0.65, 0.2, g_max_siemens),
        time_s=time_s,
        reference_s=20.0,
        read_s=250e-9,
    )
    return Device(0.0, g_max_siemens, ProgrammingError(programming), drift=drift)


def pcm_joshi_2020(time_s: Scalar = 0.0) -> Device:
    r"""Phase-change memory, 0.25 to 25 µS, with the programming error of Joshi et al.

    Programming error $0.28638599 + 0.07585724\,g - 0.00178767\,g^2$ µS with g in µS (figure 3b, quadratic fit
    of CrossSim's `PCM_Joshi.py`), measured 27.36 s after programming. Drift and 1/f noise: those of
    [`pcm_nandakumar_2019`][], measured on the same cells.

    **Source:** Joshi et al., "Accurate deep neural network inference using computational phase-change
    memory", Nature Communications 11, 2473 (2020), figure 3b.
    """
    programming = Polynomial((0.28638599 * _US, 0.07585724 * _US, -0.00178767 * _US), _US)
    drift = pcm_nandakumar_2019(time_s).drift
    return Device(0.25e-6, 25e-6, ProgrammingError(programming), drift=drift)


# Coefficients of (g/40 µS)^i in µS: 1 s, 1 day and 2 days after programming.
_WAN_US = (
    (0.348, 16.030, -43.853, 45.393, -16.815),
    (0.701, 22.086, -50.773, 47.095, -16.458),
    (0.782, 20.274, -43.507, 37.062, -11.934),
)


def rram_wan_2022(time_s: Scalar = 1.0) -> Device:
    """HfOx RRAM of the NeuRRAM chip, 1 to 40 µS: it does not drift, it spreads.

    Spread 1 s, 1 day and 2 days after write–verify (extended data figure 3d), quartic fits of aihwkit's
    `ReRamWan2022NoiseModel`; CrossSim's cubic fit to the same figure differs by up to 0.9 µS at the ends of
    the range. Beyond two days nothing was measured and the spread is held. The paper does not tell read noise
    apart.

    **Arguments:** `time_s`: since programming, seconds.

    **Source:** Wan et al., "A compute-in-memory chip based on resistive random-access memory", Nature 608,
    504–512 (2022); g_min and g_max: Methods.
    """
    spreads = tuple(Polynomial(tuple(c * _US for c in row), 40e-6) for row in _WAN_US)
    relaxation = Relaxation((1.0, _DAY_S, 2 * _DAY_S), spreads, time_s=time_s)
    return Device(1e-6, 40e-6, ProgrammingError(spreads[0]), drift=relaxation)


def rram_milo_2021() -> Device:
    r"""HfO₂ RRAM, 50 to 225 µS, programmed by the IGVVA-100 algorithm: $σ = 4.782321 - 0.009107\,g$ µS.

    **Source:** Milo et al., "Optimized programming algorithms for multilevel RRAM in hardware neural
    networks", IRPS 2021, figure 4, linear fit of CrossSim's `RRAM_Milo.py`. Retention is not in the paper.
    """
    return Device(50e-6, 225e-6, ProgrammingError(Polynomial((4.782321 * _US, -0.009107 * _US), _US)))


_NA = 1e-8
"""Siemens of one nanoampere at the read voltage of 0.1 V, at which 16 µS carry 1,600 nA."""

# Shift of the mean against the state, coefficients of (I/nA)^i in nA, after 1 to 5 days.
# fmt: off
_SONOS_SHIFT_NA = (
    (
        1.72684e-01, 5.72552e-02, -6.85715e-04, 3.50271e-06, -9.37682e-09, 1.40575e-11,
        -1.19803e-14, 5.41293e-18, -8.85448e-22, -1.66869e-25, 5.95180e-29,
    ),
    (
        2.50712e-01, 6.62195e-02, -6.83218e-04, 2.99442e-06, -6.78255e-09, 7.70482e-12,
        -3.04983e-15, -2.15919e-18, 2.94617e-21, -1.23359e-24, 1.85329e-28,
    ),
    (
        -1.75300e-02, 9.76883e-02, -9.63791e-04, 4.55551e-06, -1.22391e-08, 1.93786e-11,
        -1.85899e-14, 1.07659e-17, -3.58211e-21, 5.96785e-25, -3.30410e-29,
    ),
    (
        4.03338e-02, 1.03111e-01, -1.04740e-03, 4.83961e-06, -1.28132e-08, 1.99484e-11,
        -1.85139e-14, 1.00008e-17, -2.84944e-21, 3.01008e-25, 1.18747e-29,
    ),
    (
        3.19927e-01, 1.06596e-01, -1.04054e-03, 4.50290e-06, -1.10352e-08, 1.56477e-11,
        -1.27592e-14, 5.45513e-18, -7.26841e-22, -2.43893e-25, 7.14608e-29,
    ),
)
# fmt: on
# σ = A·(1 − exp(−I/B)), both in nA, after 0 to 5 days.
_SONOS_SPREAD_NA = (
    (19.88665, 176.3115),
    (25.59102, 186.85544),
    (28.72753, 193.56834),
    (31.04318, 198.90332),
    (33.76214, 204.77023),
    (34.57909, 207.34309),
)


def sonos_agrawal_2022(time_s: Scalar = 0.0) -> Device:
    """40 nm SONOS charge-trap memory, 0 to 16 µS at 0.1 V (0 to 1,600 nA), from 128,000 cells.

    Spread (figure 10a), shift of the mean (figure 10b) after 0 to 5 days, and read noise (figure 11b), the
    fits of CrossSim's `SONOS.py`, straight lines between the days. Beyond five days nothing was measured and
    both are held.

    **Arguments:** `time_s`: since programming, seconds.

    **Source:** Agrawal et al., "Subthreshold operation of SONOS analog memory to enable accurate low-power
    neural network inference", IEDM 2022, 21.7.
    """
    spreads = tuple(Saturating(a * _NA, b * _NA) for a, b in _SONOS_SPREAD_NA)
    unmoved = Polynomial((0.0,) * 11, _NA)
    moved = tuple(Polynomial(tuple(c * _NA for c in row), _NA) for row in _SONOS_SHIFT_NA)
    times = tuple(day * _DAY_S for day in range(6))
    relaxation = Relaxation(times, spreads, (unmoved, *moved), time_s, spacing="linear")
    noise = ReadNoise(1.0, Saturating(12.58037 * _NA, 215.36557 * _NA))
    return Device(0.0, 16e-6, ProgrammingError(spreads[0]), drift=relaxation, read_noise=noise)


PRESETS: dict[str, Callable[..., Device]] = {
    "memristor-bhattacharjee": memristor_bhattacharjee,
    "pcm-nandakumar-2019": pcm_nandakumar_2019,
    "pcm-joshi-2020": pcm_joshi_2020,
    "rram-wan-2022": rram_wan_2022,
    "rram-milo-2021": rram_milo_2021,
    "sonos-agrawal-2022": sonos_agrawal_2022,
}
"""Devices by name."""


def preset(name: str) -> Device:
    """The device of that name, freshly programmed; [`hwmodels.crossbar.Device.at`][] ages it.

    **Arguments:** `name`: a key of [`PRESETS`][].

    **Returns:** a [`hwmodels.crossbar.Device`][].

    **Raises:** `ValueError` for a name that is not in [`PRESETS`][].
    """
    if name not in PRESETS:
        raise ValueError(f"there is no device {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]()
