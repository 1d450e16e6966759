"""Hand the whitened kernel to nutpie as machine code, so that no step of the sampler waits for the Python interpreter.

nutpie's public ``from_pyfunc`` calls a Python function for every gradient; its compiled PyMC models are called through
addresses of C functions.  What is private of nutpie stands in :func:`_by_address`; where that fails, the public way
serves.  Everything the functions need is packed into one buffer of 8-byte words, whose address they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from bayesmlm.bayes.kernel import Kernel, log_density
from bayesmlm.bayes.whitening import Whitening, pull, push
from bayesmlm.laplace.preload import INNER

__all__ = ["nutpie_model", "pack", "whitened_density"]

Array = np.ndarray[Any, Any]
_ENTRY = 4
"""Words of the header per argument: where it begins, and up to three lengths."""


@njit(**INNER)
def _one(words: np.ndarray, header: np.ndarray, i: int) -> np.ndarray:
    at = header[_ENTRY * i]
    return words[at : at + header[_ENTRY * i + 1]]


@njit(**INNER)
def _two(words: np.ndarray, header: np.ndarray, i: int) -> np.ndarray:
    at, rows, columns = header[_ENTRY * i], header[_ENTRY * i + 1], header[_ENTRY * i + 2]
    return words[at : at + rows * columns].reshape((rows, columns))


@njit(**INNER)
def _three(words: np.ndarray, header: np.ndarray, i: int) -> np.ndarray:
    at, a, b, c = header[_ENTRY * i : _ENTRY * i + 4]
    return words[at : at + a * b * c].reshape((a, b, c))


@njit(cache=True, nogil=True, error_model="numpy")
def whitened_density(w: np.ndarray, gradient: np.ndarray, f: np.ndarray, i: np.ndarray) -> float:
    """Log-density at whitened coordinates; its gradient is written.

    Parameters
    ----------
    w, gradient : ndarray, shape (size,)
    f, i : ndarray, shape (words,)
        The buffer :func:`pack` makes, seen as floating-point and as whole numbers.
    """
    h = i[1:]
    x, of_x = np.empty(len(w)), np.empty(len(w))
    outer, others, mode, root = _one(i, h, 16), _one(i, h, 17), _one(f, h, 18), _two(f, h, 19)
    of_outer, others_root, others_scale = _two(f, h, 20), _two(f, h, 21), _one(f, h, 22)
    first, places, information = _one(i, h, 23), _one(i, h, 24), _three(f, h, 25)
    linear, of_v = _one(f, h, 26), _two(f, h, 27)
    starts, columns, values, log_sigma = _one(i, h, 28), _one(i, h, 29), _one(f, h, 30), _one(f, h, 31)[0]
    bent = _one(i, h, 32)
    levels, k, _ = information.shape
    q, mean, roots = np.empty(levels * k), np.empty(levels * k), np.empty((levels, k, k))
    jacobian = push(
        w, x, q, mean, roots, outer, others, mode, root, of_outer, others_root, others_scale, first, places,
        information, linear, of_v, starts, columns, values, log_sigma, bent,
    )  # fmt: skip
    value = log_density(
        x, of_x, _one(i, h, 0)[0], _one(f, h, 1), _one(f, h, 2), _two(f, h, 3), _one(f, h, 4), _two(i, h, 5),
        _two(f, h, 6), _two(i, h, 7), _one(i, h, 8), _one(f, h, 9), _two(f, h, 10), _two(f, h, 11), _one(f, h, 12),
        _one(i, h, 13)[0], _one(f, h, 14)[0], _one(f, h, 15)[0],
    )  # fmt: skip
    pull(
        of_x, gradient, x, q, mean, roots, outer, others, mode, root, of_outer, others_root, others_scale, first,
        places, information, linear, of_v, starts, columns, values, log_sigma, bent,
    )  # fmt: skip
    return value + jacobian


def pack(kernel: Kernel, whitening: Whitening) -> Array:
    """Everything :func:`whitened_density` needs in one buffer of 8-byte words: its length, a header, the arrays."""
    parts = [np.atleast_1d(np.asarray(value)) for value in (*kernel.arguments, *whitening.arguments)]
    at = 1 + _ENTRY * len(parts)
    total = at + sum(part.size for part in parts)
    words = np.zeros(total, dtype=np.int64)
    words[0] = total
    for j, part in enumerate(parts):
        words[1 + _ENTRY * j] = at
        words[2 + _ENTRY * j : 2 + _ENTRY * j + part.ndim] = part.shape
        whole = part.dtype.kind in "iub"
        flat = np.ascontiguousarray(part, dtype=np.int64 if whole else np.float64).ravel()
        words[at : at + flat.size] = flat.view(np.int64)
        at += flat.size
    return words


_POINTER = types.CPointer(types.double)


@cfunc(types.int64(types.uint64, _POINTER, _POINTER, _POINTER, types.voidptr), cache=True, error_model="numpy")
def _density_address(size, w, gradient, value, data):  # type: ignore[no-untyped-def]
    total = carray(data, (1,), np.int64)[0]
    f, i = carray(data, (total,), np.float64), carray(data, (total,), np.int64)
    g = carray(gradient, (size,))
    out = whitened_density(carray(w, (size,)), g, f, i)
    carray(value, (1,))[0] = out
    # Codes of a point the sampler may turn back from.
    if not np.isfinite(out):
        return 4
    return 0 if np.isfinite(g).all() else 3


@cfunc(types.int64(types.uint64, types.uint64, _POINTER, _POINTER, types.voidptr), cache=True)
def _copy_address(size, expanded, w, out, data):  # type: ignore[no-untyped-def]
    carray(out, (expanded,))[:] = carray(w, (size,))
    return 0


Initial = Callable[[Any], Array]


def _by_address(size: int, words: Array, initial: Initial) -> Any:
    """A nutpie model that calls machine code, by nutpie's private classes."""
    import pandas as pd
    from nutpie import _lib
    from nutpie.sample import CompiledModel

    @dataclass(frozen=True)
    class Model(CompiledModel):
        @property
        def n_dim(self) -> int:
            return size

        @property
        def shapes(self) -> dict[str, tuple[int, ...]]:
            return {"w": (size,)}

        @property
        def coords(self) -> dict[str, Any]:
            return {}

        def _make_model(self, init_mean: Any) -> Any:
            density = _lib.LogpFunc(_density_address.address, words.ctypes.data, words)
            expand = _lib.ExpandFunc(size, size, _copy_address.address, words.ctypes.data, words)
            variables = _lib.PyVariable.new_variables(["w"], ["float64"], [(size,)], {"place": size}, {"w": ("place",)})
            return _lib.PyMcModel(
                density, expand, variables, size, {"place": size}, {"place": pd.RangeIndex(size)}, initial, None
            )

        def _make_sampler(self, settings: Any, init_mean: Any, cores: int, *rest: Any) -> Any:
            return _lib.PySampler.from_pymc(settings, cores, self._make_model(init_mean), *rest)

    model = Model(dims={}, reparameterized_names=[])
    model._make_model(None)
    return model


def _by_function(size: int, words: Array, initial: Initial) -> Any:
    """The same through nutpie's public interface."""
    from nutpie.compiled_pyfunc import from_pyfunc

    f, i = words.view(np.float64), words

    def make_density() -> Callable[[Array], tuple[float, Array]]:
        def density(w: Array) -> tuple[float, Array]:
            gradient = np.empty(size)
            return whitened_density(np.ascontiguousarray(w), gradient, f, i), gradient

        return density

    def make_copy(seed1: int, seed2: int, chain: int) -> Callable[[Array], dict[str, Array]]:
        return lambda w: {"w": np.array(w, dtype="float64")}

    return from_pyfunc(
        size, make_density, make_copy, [np.dtype("float64")], [(size,)], ["w"], make_initial_point_fn=initial
    )


def nutpie_model(kernel: Kernel, whitening: Whitening, spread: float = 0.5) -> Any:
    """What nutpie samples: variable ``w``, the whitened coordinates.

    Parameters
    ----------
    kernel : Kernel
    whitening : Whitening
    spread : float
        Standard deviation of the chains' first points about the mode, in whitened coordinates.
    """
    words, size = pack(kernel, whitening), kernel.size

    def initial(seed: Any) -> Array:
        return spread * np.random.default_rng(seed).standard_normal(size)

    try:
        return _by_address(size, words, initial)
    except Exception:
        # Whatever nutpie has changed inside.
        return _by_function(size, words, initial)
