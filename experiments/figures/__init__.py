"""Figures, one module per subject; each function returns a `matplotlib.figure.Figure` and shows nothing."""
