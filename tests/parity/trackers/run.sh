# The unmodified TensorBoard 2.21, wandb 0.31, trackio 0.43 and MLflow 3.17 read back what our trackers gave them.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
make_venv

PYTHONPATH="$parity/../../src" "$judge" -W ignore "$here/judge.py" "$work/runs"
