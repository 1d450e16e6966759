"""Load a compiled kernel from numba's disk cache without first building numba's compiler; say when it must be compiled.

Before numba looks into its cache it registers every function it could compile (0.3 s in a fresh process, which a
command that fits one model would wait for).  Code that is in the cache already needs none of that.
"""

from __future__ import annotations

from typing import Any

__all__ = ["INNER", "announce", "preload"]

INNER: dict[str, Any] = {"cache": True, "error_model": "numpy", "no_cpython_wrapper": True}
"""Options of functions that only kernels call: a wrapper for Python would take a tenth of a second each to compile."""


def preload(function: Any, *signature: Any) -> bool:
    """Give a cached kernel its machine code, if the disk cache has it.

    Parameters
    ----------
    function : numba dispatcher
        Compiled with ``cache=True``; it may call only itself, the C mathematics library and allocate arrays.
    *signature : numba types
        Of its arguments.

    Returns
    -------
    bool
        Whether the code was there.  Where it was not, or numba has changed inside, the first call compiles or loads
        it in numba's own way.
    """
    try:
        # numba's private names, in this one place.
        from numba.core.runtime import rtsys

        target = function.targetctx
        rtsys.initialize(target)
        compiled = function._cache._load_overload(signature, target)
        if compiled is None:
            return False
        target.insert_user_function(compiled.entry_point, compiled.fndesc, [compiled.library])
        function.add_overload(compiled)
    except Exception:
        return False
    return True


def announce() -> None:
    """Say on the error stream, once per process, that kernels are being compiled, where the cache has them not."""
    try:
        from numba.core.event import Listener, register
    except ImportError:
        return

    class Announcer(Listener):
        said = False

        def on_start(self, event: Any) -> None:
            ours = str(getattr(event.data["dispatcher"].py_func, "__module__", "")).startswith("bayesmlm")
            if ours and not self.said:
                import sys

                self.said = True
                print(
                    "bayesmlm: compiling its numerical kernels, some seconds, once; they are cached after that",
                    file=sys.stderr,
                )

        def on_end(self, event: Any) -> None:
            """Nothing to say."""

    register("numba:compile", Announcer())
