#!/usr/bin/env bash
# jax.nn.dot_product_attention takes and returns float64 and is exact to 1e-7 only; under strict promotion it refuses bfloat16.
#
# What one would guess: with jax_enable_x64 a function whose inputs and output are float64 computes in float64, so that
# attention can be checked against a float64 reference, and a gradient by finite differences; and a function of JAX's own
# works under JAX's own jax_numpy_dtype_promotion='strict'. What happens: the softmax is in float32 whatever the inputs are,
# and the result is cast back, so that errors are those of float32 behind a dtype that promises more. And inside, half
# precision is promoted to float32 implicitly, which 'strict' forbids: bfloat16 and float16 raise TypePromotionError, float32
# does not, so that a strict test suite meets it when a network's compute dtype is changed.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, Python 3.11, Linux x86-64, CPU (jax 0.12.0 does the same). Seen:
#   float64: dtype float64, largest difference 1.2e-07
#   by hand in float64: largest difference 4.4e-16
#   strict: bfloat16 TypePromotionError, float16 TypePromotionError, float32 float32
# What to do: attention by einsum and softmax for float64; `with jax.numpy_dtype_promotion("standard")` around the call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'EOF'
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
query, key, value = (rng.normal(size=(2, 5, 3, 4)) for _ in range(3))


def by_hand(softmax, einsum):
    scores = einsum("bthd,bphd->bhtp", query, key) / 2
    return einsum("bhtp,bphd->bthd", softmax(scores), value)


def softmax(scores):
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


reference = by_hand(softmax, np.einsum)
out = jax.nn.dot_product_attention(jnp.asarray(query), jnp.asarray(key), jnp.asarray(value))
error = np.abs(np.asarray(out) - reference).max()
print(f"float64: dtype {out.dtype}, largest difference {error:.1e}")
exact = np.abs(np.asarray(by_hand(jax.nn.softmax, jnp.einsum)) - reference).max()
print(f"by hand in float64: largest difference {exact:.1e}")
seen = []
for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
    x = jnp.ones((1, 4, 2, 8), dtype)
    with jax.numpy_dtype_promotion("strict"):
        try:
            seen.append((dtype.__name__, str(jax.nn.dot_product_attention(x, x, x).dtype)))
        except Exception as raised:
            seen.append((dtype.__name__, type(raised).__name__))
print("strict:", ", ".join(" ".join(pair) for pair in seen))
if not (out.dtype == jnp.float64 and 1e-10 < error < 1e-5 and exact < 1e-14):
    raise SystemExit("changed: float64 attention")
if [name for _, name in seen] != ["TypePromotionError", "TypePromotionError", "float32"]:
    raise SystemExit("changed: strict promotion")
print("as described")
EOF
