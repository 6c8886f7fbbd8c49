# What the judges' scripts share; sourced by tests/parity/*/run.sh, which tests/parity/run starts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
parity=$(dirname "$here")
work=$(mktemp -d)
server=
trap 'stop_server >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

# Install into the judge's environment. What a judge cannot have here, it cannot judge: 75 says so to tests/parity/run.
install() {
    timeout 900 "$judge" -m pip install --quiet "$@" || { echo "these packages are not to be had here: $*" >&2; exit 75; }
}

# Make the judge's environment from its requirements.txt, unless the one there was made from the same; sets $judge.
make_venv() {
    local venv="$PARITY_VENVS/$(basename "$here")"
    judge="$venv/bin/python"
    if ! cmp -s "$here/requirements.txt" "$venv/made-from"; then
        rm -rf "$venv"
        "$PYTHON" -m venv "$venv"
        install -r "$here/requirements.txt"
        cp "$here/requirements.txt" "$venv/made-from"
    fi
}

# Start `sinew serve` with these words on a free port; sets $server and $port once it listens.
start_server() {
    "$PYTHON" -m sinew serve "$@" --port 0 >"$work/server.log" 2>&1 &
    server=$!
    for _ in $(seq 600); do
        port=$(sed -n 's/^Serving .*ws:\/\/127.0.0.1:\([0-9]*\).*/\1/p' "$work/server.log")
        [ -n "$port" ] && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/server.log" >&2
    return 1
}

# Stop it as a supervisor would; it must end by itself with 0.
stop_server() {
    [ -n "$server" ] || return 0
    local number=$server
    server=
    kill -TERM "$number" && wait "$number"
}
