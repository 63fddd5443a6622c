"""Spiking neural networks as Flax NNX modules."""
