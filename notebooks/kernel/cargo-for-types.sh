#!/bin/sh
# The `cargo` that evcxr's rust-analyzer finds: the real one, but asked for packages it names few.
# A shell, since rust-analyzer asks a dozen questions before the first result and `python3` may be a slow shim.
export CARGO_HOME="$DDPM_CARGO_HOME"
case " $* " in
*" --no-deps "*) ;;
" metadata "*) exec "$DDPM_PYTHON" -I -S "$(dirname "$(readlink "$0")")/packages-for-types.py" "$DDPM_CARGO" "$@" ;;
esac
exec "$DDPM_CARGO" "$@"
