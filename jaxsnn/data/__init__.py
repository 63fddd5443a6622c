"""Image data sets, held whole in memory as uint8."""
