# The unmodified openpi-client from PyPI against `sinew serve`.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
make_venv
"$PYTHON" "$parity/tiny_policy.py" "$work/made" 1 2
start_server "$work/made/policy" --max-message 1MiB
"$judge" "$here/judge.py" "$port" "$work/made/expected.npz"
stop_server

# The same from the exported artefact, in a process that never imports torch.
"$PYTHON" -m sinew export "$work/made/policy" --out "$work/made/onnx" >"$work/export.log" 2>&1 || { cat "$work/export.log"; exit 1; }
PYTHONPROFILEIMPORTTIME=1 start_server "$work/made/onnx" --max-message 1MiB
"$judge" "$here/judge.py" "$port" "$work/made/expected.npz"
stop_server
! grep -q '| *torch[.]' "$work/server.log" || { echo "the server of an artefact imported torch" >&2; exit 1; }
grep -q '| *onnxruntime[.]' "$work/server.log" || { echo "its imports were not seen" >&2; exit 1; }
echo "  the artefact was served without torch"

# Another robot's keys, joined, with images of another size.
start_server "$work/made/policy" --resize --key front=observation/exterior_image_1_left --key wrist=observation/wrist_image_left \
    --key state=observation/joint_position+observation/gripper_position
"$judge" "$here/judge_droid.py" "$port" "$work/made/expected.npz"
stop_server
