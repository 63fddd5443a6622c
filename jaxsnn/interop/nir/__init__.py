"""NIR graphs (neuromorphic intermediate representation), in and out."""

from jaxsnn.interop.nir._read import from_nir
from jaxsnn.interop.nir._write import to_nir

__all__ = ["from_nir", "to_nir"]
