"""What stands between a network and its forward pass in training: a chip, a quantiser, a mask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from jaxsnn.learning.evaluation import split_parameters
from jaxsnn.network import Network

OfParameters = Callable[[nnx.State, jax.Array], nnx.State]
"""`(parameters, key) -> parameters used in the forward pass`; gradients flow through it to the originals."""


class Transform:
    """Makes of the network that is trained the network that runs.

    `state = init(network)` once, and in every step, with one key,

    ```
    state = update(network, state, key)
    running = apply(network, state, key)
    ```

    Gradients flow through `apply` to the network's parameters, and not through `update`. The state is any
    pytree of arrays; it is part of a checkpoint. Subclasses are hashable and compare by value, since a
    compiled step belongs to one transform.
    """

    def init(self, network: Network) -> Any:
        """The state before the first step."""
        return ()

    def update(self, network: Network, state: Any, key: jax.Array) -> Any:
        """The state that this step uses."""
        return state

    def apply(self, network: Network, state: Any, key: jax.Array) -> Network:
        """The network that runs; `network` is a copy that may be changed and returned."""
        raise NotImplementedError

    def evaluation(self) -> "Transform":
        """The transform that test images see: this one, unless training does something on purpose."""
        return self


@dataclass(frozen=True)
class Stateless(Transform):
    """A pure function of the parameters as a [`Transform`][]."""

    function: OfParameters

    def apply(self, network: Network, state: Any, key: jax.Array) -> Network:
        graphdef, params, rest = split_parameters(network)
        return nnx.merge(graphdef, self.function(params, key), rest, copy=True)


def as_transform(transform: Transform | OfParameters | None) -> Transform | None:
    """A plain function is a transform without state."""
    return transform if transform is None or isinstance(transform, Transform) else Stateless(transform)
