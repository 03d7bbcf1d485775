"""Changes of module outputs inside a network, by module path, without a change of the network's code."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax

from gan_jax.trees import TreeError, did_you_mean

Changes = Mapping[str, Callable[[jax.Array], jax.Array]]  # module path, such as `b8/conv0` -> function of its output


@contextlib.contextmanager
def changed(changes: Changes | None) -> Iterator[None]:
    """Applies functions to the outputs of the modules at these paths, in every call within the context.

    Raises:
      TreeError: a path without a module, a module that returns several arrays, or a changed shape or dtype.
    """
    if not changes:
        yield
        return
    called: dict[str, None] = {}  # an ordered set of module paths

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        path, out = "/".join(context.module.path), call(*args, **kwargs)
        if context.method_name != "__call__":
            return out
        called[path] = None
        return _change(changes[path], path, out) if path in changes else out

    with nn.intercept_methods(intercept):
        yield
    for path in changes:
        if path not in called:
            known = [name for name in called if name]
            raise TreeError(
                f"no module {path!r} whose output could be changed{did_you_mean(path, known)}; there are {', '.join(known)}"
            )


def _change(change: Callable[[jax.Array], jax.Array], path: str, out: Any) -> jax.Array:
    if not isinstance(out, jax.Array):
        raise TreeError(f"module {path!r} gives several arrays; change the output of a module inside it")
    changed_out = change(out)
    if (changed_out.shape, changed_out.dtype) != (out.shape, out.dtype):
        raise TreeError(
            f"module {path!r} gives {out.dtype}{list(out.shape)}, but its change {changed_out.dtype}{list(changed_out.shape)}; "
            "a change keeps shape and dtype"
        )
    return changed_out
