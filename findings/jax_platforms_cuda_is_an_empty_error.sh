#!/usr/bin/env bash
# JAX, installed without its CUDA plugin, is asked for CUDA by the environment: JAX_PLATFORMS=cuda.
#
# What one would guess: the error that JAX_PLATFORMS=tpu gives, "Unable to initialize backend ..", with the platforms that
# there are. What happens: an AssertionError without a word, out of the search for backends. Programs that print errors
# print an empty line; users who have just followed a cluster's instructions learn nothing of the missing extra.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, Python 3.11, Linux x86-64, a machine without a GPU. Seen:
#   cuda: AssertionError ''
#   tpu: RuntimeError "Unable to initialize backend 'tpu': INTERNAL: Failed to open libtpu.so ..
#   cuda,cpu: cpu:0
# What to do: look whether the platform that is asked for has any device, and say how to install it; `cuda,cpu` falls back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
ask='
import jax
try:
    print(*jax.devices())
except BaseException as error:
    print(type(error).__name__, repr(str(error)))
'
for platform in cuda tpu cuda,cpu; do
    printf '%s: ' "$platform"
    JAX_PLATFORMS=$platform "$folder/venv/bin/python" -c "$ask" 2>/dev/null | tee "$folder/$platform" | cut -c1-120
done
grep -qx "AssertionError ''" "$folder/cuda" || { echo "changed: CUDA's error has other words now"; exit 1; }
grep -q "^RuntimeError \"Unable to initialize backend 'tpu'" "$folder/tpu" || { echo "changed: TPU's error"; exit 1; }
grep -qi cpu "$folder/cuda,cpu" || { echo "changed: cuda,cpu does not fall back"; exit 1; }
echo "as described"
