"""What stands between a network and its forward pass in training: a chip, a quantiser, a mask."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from jaxsnn.layers import require_reachable
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

    def update(self, network: Network, state: Any, key: Any) -> Any:
        """The state that this step uses."""
        return state

    def apply(self, network: Network, state: Any, key: Any) -> Network:
        """The network that runs; `network` is a copy that may be changed and returned."""
        raise NotImplementedError

    def evaluation(self) -> "Transform":
        """The transform that test images see: this one, unless training does something on purpose."""
        return self


class OnParameters(Transform):
    """A [`Transform`][] without state that replaces the parameters; subclasses define `__call__`.

    **Raises:** `ValueError`, where it is applied to a programmed chip, whose tiles hold the weights.
    """

    def __call__(self, params: Any, key: Any = None) -> Any:
        raise NotImplementedError

    def apply(self, network: Network, state: Any, key: Any) -> Network:
        require_reachable(
            network,
            "a transform of parameters",
            "apply it to the network before the chip, and first in a chain",
        )
        graphdef, params, rest = split_parameters(network)
        return nnx.merge(graphdef, self(params, key), rest, copy=True)


@dataclass(frozen=True)
class Stateless(OnParameters):
    """A pure function of the parameters as a [`Transform`][]."""

    function: OfParameters

    def __call__(self, params: Any, key: Any = None) -> Any:
        return self.function(params, key)


@dataclass(frozen=True)
class Chain(Transform):
    """Transforms one after the other, each on the network that the one before makes: pruned, then on a chip.

    ```
    fit(network, data, config, transform=[masked(masks), NoiseAware(crossbar)])
    ```

    **Arguments:** `transforms`: at least one; each draws from a stream of its own.

    **Raises:** `ValueError` for none.
    """

    transforms: tuple[Transform, ...]

    def __post_init__(self):
        if not self.transforms:
            raise ValueError("a chain of transforms has at least one; for none, pass transform=None.")

    def init(self, network: Network) -> Any:
        """The states of all."""
        return tuple(each.init(network) for each in self.transforms)

    def update(self, network: Network, state: Any, key: Any) -> Any:
        """Each sees the network that it is going to be applied to."""
        found = []
        for each, own, drawn in self._each(state, key):
            found.append(each.update(network, own, drawn))
            if len(found) < len(self.transforms):
                network = each.apply(network, found[-1], drawn)
        return tuple(found)

    def apply(self, network: Network, state: Any, key: Any) -> Network:
        """The network of the last one."""
        for each, own, drawn in self._each(state, key):
            network = each.apply(network, own, drawn)
        return network

    def evaluation(self) -> "Chain":
        """Each as test images see it."""
        return Chain(tuple(each.evaluation() for each in self.transforms))

    def _each(self, state: Any, key: Any) -> Iterator[tuple[Transform, Any, Any]]:
        for index, (each, own) in enumerate(zip(self.transforms, state, strict=True)):
            yield each, own, None if key is None else jax.random.fold_in(key, index)


Transforms = Transform | OfParameters | Sequence[Transform | OfParameters]


def as_transform(transform: Transforms) -> Transform:
    """A plain function is a transform without state, and several are a [`Chain`][]."""
    if isinstance(transform, Sequence):
        return Chain(tuple(map(as_transform, transform)))
    return transform if isinstance(transform, Transform) else Stateless(transform)


def apply_transform(network: Network, transform: Transforms, *, key: Any = None) -> Network:
    """A copy of the network as `transform` runs it: with the masks or levels of its training written in.

    [`jaxsnn.learning.training.fit`][] leaves the network that was trained, not the one that ran.

    **Arguments:**

    - `network`: left as it is.
    - `transform`: in its first state; as for `fit`.
    - `key`: for a transform that draws, such as devices; masks and quantisers do not.

    **Returns:** a [`Network`][].
    """
    chosen, copy = as_transform(transform), nnx.clone(network)
    state = chosen.update(copy, chosen.init(copy), key)
    return chosen.apply(copy, state, key)
