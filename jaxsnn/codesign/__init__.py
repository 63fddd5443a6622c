"""Network and chip together: the one room that knows both sides."""
