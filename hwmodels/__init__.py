"""Hardware that runs spiking networks, as Equinox pytrees and pure functions."""
