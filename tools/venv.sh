#!/bin/sh
# Makes a virtual environment, or says in one readable block what is missing.
# Usage: tools/venv.sh FOLDER        PYTHON=/path/to/python picks the interpreter.
set -eu
folder=$1

works() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

if [ -x "$folder/bin/python" ] && "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0  # an earlier try got this far
fi

found=
for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if works "$python"; then found=$python; break; fi
done
if [ -z "$found" ]; then
    have="not there"
    if command -v "${PYTHON:-python3}" >/dev/null; then have=$("${PYTHON:-python3}" --version 2>&1 || true); fi
    echo "gan_jax needs Python 3.11 or newer; ${PYTHON:-python3} is $have." >&2
    echo "Install one (Debian 12+, Ubuntu 24.04+: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi

if ! "$found" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "$found has no venv or no ensurepip, which make environments." >&2
    echo "On Debian and Ubuntu they are a package of their own: apt-get install python3-venv   (or python$version-venv)" >&2
    exit 1
fi

echo "making $folder with $("$found" --version) (once; the packages follow and take some minutes)"
rm -rf "$folder"
"$found" -m venv "$folder"
