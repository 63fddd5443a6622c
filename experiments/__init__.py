"""Experiments: the one place where networks meet hardware models."""
