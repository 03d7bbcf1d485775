#!/usr/bin/env bash
# JAX's persistent compilation cache finds nothing once its folder is moved, copied or mounted at another path, on CPU too.
#
# What one would guess: an entry's name is a hash of the program, the compiler's options and the device, so that a cache
# can be filled on one machine, kept as an artefact of CI or baked into an image, and read at any path. What happens: with
# the default `jax_persistent_cache_enable_xla_caches`, JAX puts the folder of XLA's own GPU autotuning cache, which lies
# inside the cache's folder, into the options of every program, and does not leave that option out of the hash. So the
# same program has another name in every folder. Nothing is said: everything is compiled again, and written again.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, Python 3.11, Linux x86-64, CPU. Seen:
#   default: 2 entries after the second process, which read a copy of the first one's folder
#   xla caches none: 1 entry
# What to do: JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES=none where a cache moves between folders; on GPU that gives up the
# autotuning results, or mount the folder at one path everywhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
program='
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.jit(lambda x: x @ x + 1).lower(jax.ShapeDtypeStruct((8, 8), "float32")).compile()
'
entries() {  # of a cache that a second process read from a copy at another path
    JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$folder/$1-a" "$folder/venv/bin/python" -c "$program"
    cp -r "$folder/$1-a" "$folder/$1-b"
    JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$folder/$1-b" "$folder/venv/bin/python" -c "$program"
    find "$folder/$1-b" -name '*-cache' | wc -l
}
default=$(entries default)
echo "default: $default entries after the second process"
without=$(JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES=none entries none)
echo "xla caches none: $without entry"
[ "$default" = 2 ] || { echo "changed: a moved cache is read now"; exit 1; }
[ "$without" = 1 ] || { echo "changed: without XLA's caches"; exit 1; }
echo "as described"
