"""Linear maps whose transposes are known: derivatives that run both ways, each by its own program.

`jax.custom_vjp` knows no forward mode, and JAX's own transposition of a solver would have to undo its loops.
A `jax.custom_jvp` whose tangent comes from [`linear_map`][] has both. JAX's own
`jax.custom_derivatives.linear_call` is the same, but cannot be mapped (`jax.vmap`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_linear = Primitive("linear_map")
_linear.multiple_results = True


class _Way(NamedTuple):
    """One of the two maps, and the other.

    - `given`: the tree of what neither is linear in; `mapped`: its mapped leaves, for each `vmap` around.
    - `domain`, `image`: trees and, without mapped axes, shapes of their leaves.
    """

    map: Callable[[Any, Any], Any]
    transposed: Callable[[Any, Any], Any]
    given: Any
    mapped: tuple[tuple[bool, ...], ...]
    domain: tuple[Any, tuple[Any, ...]]
    image: tuple[Any, tuple[Any, ...]]


def linear_map(
    function: Callable[[Any, Any], Any],
    transposed: Callable[[Any, Any], Any],
    given: Any,
    vector: Any,
    image: Any,
) -> Any:
    """`function(given, vector)`, linear in `vector`.

    **Arguments:**

    - `function`, `transposed`: hashable, of `given` and of a tree like `vector` or like `image`; each returns
      the other's kind.
    - `image`: arrays or shapes like those that `function` returns.
    """
    given, of_given = jax.tree.flatten(given)
    vector, domain = jax.tree.flatten(vector)
    image, codomain = jax.tree.flatten(image)
    shapes = (
        tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in tree) for tree in (vector, image)
    )
    domain, codomain = zip((domain, codomain), shapes, strict=True)
    way = _Way(function, transposed, of_given, (), domain, codomain)
    return jax.tree.unflatten(codomain[0], _linear.bind(*given, *vector, way=way))


def _split(operands, way):
    count = len(operands) - len(way.domain[1])
    return list(operands[:count]), list(operands[count:])


def _apply(*operands, way):
    def function(given, vector):
        found = way.map(jax.tree.unflatten(way.given, given), jax.tree.unflatten(way.domain[0], vector))
        return jax.tree.leaves(found)

    for mapped in way.mapped:
        function = jax.vmap(function, in_axes=([0 if is_mapped else None for is_mapped in mapped], 0))
    return function(*_split(operands, way))


@_linear.def_abstract_eval
def _shapes(*operands, way):
    axes = operands[-1].shape[: len(way.mapped)]
    return [jax.core.ShapedArray((*axes, *leaf.shape), leaf.dtype) for leaf in way.image[1]]


def _jvp(primals, tangents, *, way):
    found = _linear.bind(*primals, way=way)
    of_given, of_vector = _split(tangents, way)
    if all(type(tangent) is ad.Zero for tangent in of_given):
        given, _ = _split(primals, way)
        return found, _linear.bind(*given, *map(ad.instantiate_zeros, of_vector), way=way)
    return jax.jvp(partial(_apply, way=way), tuple(primals), tuple(map(ad.instantiate_zeros, tangents)))


def _transpose(cotangents, *operands, way):
    given, _ = _split(operands, way)
    cotangents = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    other = way._replace(map=way.transposed, transposed=way.map, domain=way.image, image=way.domain)
    return [None] * len(given) + _linear.bind(*given, *cotangents, way=other)


def _batch(operands, dims, *, way):
    size = next(operand.shape[dim] for operand, dim in zip(operands, dims, strict=True) if dim is not None)
    given, vector = _split(list(zip(operands, dims, strict=True)), way)
    mapped = tuple(dim is not None for _, dim in given)
    # All of the vector is mapped, so that of its transpose is, too.
    given = [operand if dim is None else batching.bdim_at_front(operand, dim, size) for operand, dim in given]
    vector = [batching.bdim_at_front(operand, dim, size) for operand, dim in vector]
    way = way._replace(mapped=(*way.mapped, mapped))
    found = _linear.bind(*given, *vector, way=way)
    return found, [0] * len(found)


_linear.def_impl(_apply)
ad.primitive_jvps[_linear] = _jvp
ad.primitive_transposes[_linear] = _transpose
batching.primitive_batchers[_linear] = _batch
mlir.register_lowering(_linear, mlir.lower_fun(_apply, multiple_results=True))
