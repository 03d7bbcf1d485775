"""Texts of a generator that goes on from prompts, token by token with a cache, in one compiled program."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gan_jax.config import TextFamily
from gan_jax.nets import Net
from gan_jax.nets.texts import Text, left_padded
from gan_jax.tasks.decoding import Decoding, drawn, filtered
from gan_jax.train.state import Variables

Writer = Callable[..., dict[str, jax.Array]]
GREEDY = Decoding(greedy=True)


def make_writer(net: Net, config: TextFamily, decoding: Decoding = GREEDY) -> Writer:
    """Makes `write(variables, prompts, keys, n, noise=None) -> Text` of the prompts and up to n tokens after each.

    Text i depends on prompt i and key i only. A text that has said its end keeps it, and is padded behind it; once all have,
    nothing more is computed. Prompts may be padded on either side; in the result they are on the left: `{"tokens": [B, T + n],
    "mask": [B, T + n]}`. `noise [n, B, V]` is added to the filtered logits in place of the draws by keys.

    Args:
      net: the generator, with the parts "begin" and "go_on".
      config: of it: the ids of the end and of padding.
      decoding: how a token is chosen.

    Raises:
      ValueError: by `write`: more tokens than there are positions, an empty prompt, keys of another number.
    """

    @functools.partial(jax.jit, static_argnames="n")
    def run(variables: Variables, prompts: Text, keys: jax.Array | None, n: int, noise: jax.Array | None) -> Any:
        prompts = left_padded(prompts)
        tokens, mask = prompts["tokens"], prompts["mask"]
        batch, length = tokens.shape
        rows = jnp.arange(batch)
        logits, cache = cast(Any, net.parts["begin"](variables, prompts, n - 1))
        seen = jnp.zeros(logits.shape if decoding.remembers else (batch, 1), bool)
        if decoding.remembers:
            seen = seen.at[rows[:, None], tokens].max(mask)
        state = {
            "step": jnp.int32(0), "logits": logits, "cache": cache, "seen": seen, "ended": jnp.zeros(batch, bool),
            "tokens": jnp.full((batch, n), config.pad, jnp.int32), "mask": jnp.zeros((batch, n), bool),
        }  # fmt: skip

        def chosen(state: dict[str, Any]) -> dict[str, Any]:
            """The state with one more token of every text."""
            step, ended = state["step"], state["ended"]
            scores = filtered(state["logits"], decoding, state["seen"] if decoding.remembers else None)
            if noise is not None:
                scores = scores + noise[step].astype(scores.dtype)
            if decoding.greedy or noise is not None:
                token = jnp.argmax(scores, -1).astype(jnp.int32)
            else:
                token = drawn(scores, jax.vmap(jax.random.fold_in, (0, None))(cast(Any, keys), step))
            token = jnp.where(ended, config.pad, token)
            state = state | {
                "step": step + 1,
                "tokens": state["tokens"].at[:, step].set(token),
                "mask": state["mask"].at[:, step].set(~ended),
            }
            if decoding.remembers:
                state["seen"] = state["seen"].at[rows, token].set(True)
            if config.eos is not None:
                state["ended"] = ended | (token == config.eos)
            return state

        def more(state: dict[str, Any]) -> jax.Array:
            return (state["step"] < n) & ~state["ended"].all()

        def read(state: dict[str, Any]) -> dict[str, Any]:
            """Reads the token that was chosen last, and chooses the next."""
            token = jax.lax.dynamic_index_in_dim(state["tokens"], state["step"] - 1, 1, keepdims=False)
            logits, cache = cast(Any, net.parts["go_on"](variables, token, state["cache"]))
            return chosen(state | {"logits": logits, "cache": cache})

        state = jax.lax.while_loop(more, read, chosen(state))
        return {
            "tokens": jnp.concatenate([tokens, state["tokens"]], 1),
            "mask": jnp.concatenate([mask, state["mask"]], 1),
        }

    def write(
        variables: Variables, prompts: Text, keys: jax.Array | None = None, n: int = 1, noise: Any = None
    ) -> dict[str, jax.Array]:
        tokens, mask = (jnp.asarray(prompts[name]) for name in ("tokens", "mask"))
        if n < 1:
            raise ValueError(f"n is {n}; use at least 1 token")
        positions = getattr(config, "positions", None)
        if positions is not None and tokens.shape[1] + n > positions:
            raise ValueError(
                f"prompts of {tokens.shape[1]} tokens and {n} more are beyond the {positions} positions of this generator; ask "
                f"for fewer, or shorten the prompts"
            )
        if not isinstance(mask, Tracer) and not (whole := np.asarray(mask).any(1)).all():
            raise ValueError(
                f"prompt {int(np.argmin(whole))} has no token; begin with that of the start, {config.bos} (beginnings)"
            )
        if keys is None and not decoding.greedy and noise is None:
            raise ValueError("keys are missing, by which tokens are drawn: one for each text, or Decoding(greedy=True)")
        if keys is not None and keys.shape[:1] != tokens.shape[:1]:
            raise ValueError(f"there are {len(tokens)} prompts and keys {list(keys.shape)}; use one for each")
        return run(variables, {"tokens": tokens, "mask": mask}, keys, n, None if noise is None else jnp.asarray(noise))

    return write


def beginnings(config: TextFamily, n: int) -> dict[str, jax.Array]:
    """Prompts of n texts from nothing: the token of the start."""
    return {"tokens": jnp.full((n, 1), config.bos, jnp.int32), "mask": jnp.ones((n, 1), bool)}
