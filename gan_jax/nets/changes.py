"""Changing what modules inside a network give, by module path, without the network knowing of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax

from gan_jax.trees import TreeError, did_you_mean

Changes = Mapping[str, Callable[[jax.Array], jax.Array]]  # module path, such as `b8/conv0` -> its output to another


@contextlib.contextmanager
def changed(changes: Changes | None) -> Iterator[None]:
    """Within it, modules at these paths give what the functions make of their outputs, in each of their calls.

    Raises:
      TreeError: there is no module of that path, it gives several arrays, or the function gives another shape or dtype.
    """
    if not changes:
        yield
        return
    met: dict[str, None] = {}  # in the order of the calls

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        path, out = "/".join(context.module.path), call(*args, **kwargs)
        if context.method_name != "__call__":
            return out
        met[path] = None
        return _change(changes[path], path, out) if path in changes else out

    with nn.intercept_methods(intercept):
        yield
    for path in changes:
        if path not in met:
            known = [name for name in met if name]
            raise TreeError(
                f"no module {path!r} whose output could be changed{did_you_mean(path, known)}; there are {', '.join(known)}"
            )


def _change(change: Callable[[jax.Array], jax.Array], path: str, out: Any) -> jax.Array:
    if not isinstance(out, jax.Array):
        raise TreeError(f"module {path!r} gives several arrays; change the output of a module inside it")
    new = change(out)
    if (new.shape, new.dtype) != (out.shape, out.dtype):
        raise TreeError(
            f"module {path!r} gives {out.dtype}{list(out.shape)}, but its change {new.dtype}{list(new.shape)}; "
            "a change keeps shape and dtype"
        )
    return new
