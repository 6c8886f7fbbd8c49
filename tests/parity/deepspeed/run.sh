# The unmodified DeepSpeed 0.19.8 shares weights, gradients and moments of two CPU processes, started by the unmodified
# Accelerate 1.15 with config/deepspeed_zero2.yaml and _zero3.yaml: they learn what one process learns. Torch is PYTHON's.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
make_venv
outer=$("$PYTHON" -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])')
echo "$outer" >"$("$judge" -c 'import site; print(site.getsitepackages()[0])')/outer.pth"
if ! "$judge" -c 'import deepspeed, accelerate, pathlib, sys; sys.exit(str(pathlib.Path(deepspeed.__file__)).startswith(sys.prefix) is False)' >/dev/null 2>&1; then
    install --no-deps --no-build-isolation --ignore-installed deepspeed==0.19.8 accelerate==1.15.0
fi
export PATH="$(dirname "$judge"):$PATH" PYTHONPATH="$parity/../../src:$parity/.." PYTHONHASHSEED=0
export DS_ACCELERATOR=cpu TORCH_EXTENSIONS_DIR="$PARITY_VENVS/deepspeed/ops"

"$judge" "$here/judge.py" begin "$work"
for stage in 2 3; do
    "$judge" -m accelerate.commands.launch --config_file "$parity/../../config/deepspeed_zero$stage.yaml" \
        --num_processes 2 "$here/judge.py" train "$work" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
done
"$judge" "$here/judge.py" end "$work"
