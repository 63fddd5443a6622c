"""Figures, one module per subject. Each function returns a `matplotlib.figure.Figure`; none shows or saves."""
