"""Data sets: images in memory, event recordings read as they are needed."""
