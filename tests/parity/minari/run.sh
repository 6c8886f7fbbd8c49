# The unmodified Minari 0.5.4: writes the golden data sets (only with GOLDEN=directory), and reads what we write.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
make_venv

if [ -n "${GOLDEN:-}" ]; then
    "$judge" -W ignore "$here/golden.py" "$GOLDEN"
    exit
fi
"$PYTHON" "$here/write_ours.py" "$work/ours"
"$judge" -W ignore "$here/judge.py" "$work/ours"
