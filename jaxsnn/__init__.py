"""Spiking neural networks as Flax NNX modules."""

from jaxsnn.data.datasets import Dataset, load

__all__ = ["Dataset", "load"]
