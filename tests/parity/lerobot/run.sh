# The unmodified lerobot 0.4.4: reads what we write; with GOLDEN=directory it writes the golden data sets instead, with
# POLICIES=directory the golden policies, with SMOLVLA=directory and PI0=directory those of SmolVLA and pi0, and with LOADER=1 it is driven by
# benchmarks/data_parts/loader.py.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
make_venv
# The folder of this script is a package named lerobot, too, if an empty one: hence datasets.
# Beyond the versions lerobot 0.4.4 asks for, because those need CUDA's libraries; what it uses of them is the same.
"$judge" -c 'import lerobot.datasets' 2>/dev/null ||
    install --no-deps lerobot==0.4.4 torchvision==0.25.0 torchcodec==0.13.0

# torchcodec wants FFmpeg's libraries under their plain names; PyAV brings them under others.
libraries=$("$judge" -c 'import av, pathlib; print(pathlib.Path(av.__file__).parent.parent / "av.libs")')
mkdir "$work/ffmpeg"
for file in "$libraries"/lib{avcodec,avdevice,avfilter,avformat,avutil,swresample,swscale}-*.so.*; do
    ln -s "$file" "$work/ffmpeg/$(basename "$file" | sed -E 's/^(lib[a-z]+)-[0-9a-f]+\.so\.([0-9]+).*/\1.so.\2/')"
done
export LD_LIBRARY_PATH="$work/ffmpeg:$libraries" HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

if [ -n "${GOLDEN:-}" ]; then
    "$judge" "$here/golden.py" "$GOLDEN" 2>&1 | grep -v '^Svt\|^Map\|^\[libx264' || true
    older="$PARITY_VENVS/lerobot-0.3.3" # v2.1; it wants an older datasets too
    [ -d "$older" ] || install --no-deps --target "$older" lerobot==0.3.3 datasets==3.6.0
    PYTHONPATH="$older" "$judge" "$here/golden_v21.py" "$GOLDEN" 2>&1 | grep -v '^Svt\|^Map\|^\[libx264' || true
    exit
fi
if [ -n "${POLICIES:-}" ]; then
    "$judge" "$here/golden_policies.py" "$POLICIES"
    exit
fi
if [ -n "${SMOLVLA:-}" ]; then
    "$judge" "$here/golden_smolvla.py" "$SMOLVLA"
    exit
fi
if [ -n "${PI0:-}" ]; then
    "$judge" "$here/golden_pi0.py" "$PI0"
    exit
fi
if [ -n "${LOADER:-}" ]; then
    "$judge" "$here/loader.py"
    exit
fi
env -u LD_LIBRARY_PATH "$PYTHON" "$here/write_ours.py" "$work/ours"
"$judge" "$here/judge.py" "$work/ours"
