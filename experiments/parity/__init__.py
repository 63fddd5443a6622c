"""Both papers' tables and figures from trained networks, beside the printed ones."""

from experiments.parity import experiment as experiment
