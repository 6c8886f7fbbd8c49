# TensorFlow Datasets 4.9.10: writes the golden data sets (with GOLDEN=directory); without, ours reads what it writes.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
make_venv
"$judge" "$here/golden.py" "${GOLDEN:-$work/golden}" 2>&1 | grep '^  '
[ -n "${GOLDEN:-}" ] || "$PYTHON" "$here/judge.py" "$work/golden"
