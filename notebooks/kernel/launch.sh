#!/usr/bin/env bash
# Starts the Jupyter kernel "Rust (ddpm)": evcxr_jupyter in a work folder of its own.
#
# Two kernels in one work folder corrupt each other's results, and an empty one costs a minute of compiling at the
# first cell. So each kernel gets a copy of the seed, a work folder in which everything is compiled already.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab=${DDPM_LAB:-$here/../.lab}
mkdir -p "$lab/kernels"
lab=$(cd "$lab" && pwd)

# not the system's: `python3` may be a shim that takes half a second
DDPM_PYTHON=$lab/venv/bin/python
if [ ! -x "$DDPM_PYTHON" ]; then DDPM_PYTHON=$(command -v python3); fi
export DDPM_PYTHON

# what kernels left behind that are gone
for folder in "$lab"/kernels/*; do
    if [ -d "$folder" ] && ! kill -0 "${folder##*/}" 2>/dev/null; then rm -rf "$folder"; fi
done

if [ -n "${DDPM_SEED-}" ]; then # run.py builds the seed, an absolute path: this kernel works in it
    work=$DDPM_SEED
    mkdir -p "$work"
else
    work=$lab/kernels/$$ # the number stays: exec below replaces this shell
    if [ -d "$lab/seed" ]; then "$DDPM_PYTHON" -I -S "$here/copy-seed.py" "$lab/seed" "$work"; fi
    mkdir -p "$work"
fi
export EVCXR_TMPDIR=$work

# evcxr writes its own profile, for debugging; only the environment is stronger. These are the release profile's.
export CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false
export CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false
export CARGO_PROFILE_DEV_OPT_LEVEL=3
export CARGO_PROFILE_DEV_CODEGEN_UNITS=4
export CARGO_INCREMENTAL=0 # and a seed of half the size
# it overwrites RUSTFLAGS, but not the encoded ones; prefer-dynamic is its own and must stay.
# Cells are compiled for this CPU; DDPM_NATIVE=0 leaves that to the crate, whose kernels choose at run time. On CPUs
# with AVX-512 `native` has the compiler prefer vectors of 256 bits, also in the crate's kernels for 512: a training
# step takes half as long again. x86-64-v3 has AVX2 and FMA, and no such preference.
flags=-Cprefer-dynamic
if [ "${DDPM_NATIVE:-1}" != 0 ]; then
    case $(rustc -Ctarget-cpu=native --print cfg) in
        *avx512f*) cpu=x86-64-v3 ;;
        *) cpu=native ;;
    esac
    flags=$flags$'\x1f'-Ctarget-cpu=$cpu
fi
export CARGO_ENCODED_RUSTFLAGS=$flags
# rust-analyzer inside evcxr takes $CARGO_HOME/bin/cargo first: give it the one that names only what it need read
export DDPM_CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
DDPM_CARGO=$(command -v cargo || echo "$DDPM_CARGO_HOME/bin/cargo")
export DDPM_CARGO
export CARGO_HOME=$lab/cargo
mkdir -p "$CARGO_HOME/bin" "$DDPM_CARGO_HOME/registry"
ln -sfn "$here/cargo-for-types.sh" "$CARGO_HOME/bin/cargo"
for shared in registry git config.toml credentials.toml; do
    if [ -e "$DDPM_CARGO_HOME/$shared" ]; then ln -sfn "$DDPM_CARGO_HOME/$shared" "$CARGO_HOME/$shared"; fi
done

# `cargo run` and `cargo test` name folders here that hold other builds of this library, which no cell may load
unset LD_LIBRARY_PATH DYLD_FALLBACK_LIBRARY_PATH

# no start-up cells of another set-up
export EVCXR_CONFIG_DIR=$work/config
mkdir -p "$EVCXR_CONFIG_DIR"

# the notebooks' folder, from which their first cell finds this crate wherever the notebook lies
cd "$here/.."
if [ -x "$lab/evcxr/bin/evcxr_jupyter" ]; then PATH=$lab/evcxr/bin:$PATH; fi
exec evcxr_jupyter "$@"
