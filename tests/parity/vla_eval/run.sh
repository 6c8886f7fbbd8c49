# The unmodified vla-eval harness from PyPI, its orchestrator, runner and connection, against `sinew serve`.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
make_venv
"$PYTHON" "$parity/tiny_policy.py" "$work/made" 3 2
start_server "$work/made/policy" --protocol vla-eval
cd "$work"
PYTHONPATH="$here" "$judge" "$here/judge.py" "$port" "$work/made/expected.npz"
stop_server
