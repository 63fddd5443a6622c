"""Training, and what is done to a network before and after it."""
