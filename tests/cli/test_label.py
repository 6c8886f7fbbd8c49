from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from sinew.cli.main import main
from sinew.data.labels import load
from sinew.data.store import Store
from toy_data import SPEC, random_episode


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of three episodes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    store = Store.create(tmp_path / "demos", SPEC)
    store.append([random_episode(number, 4, targets={}, instruction="go", task="go") for number in range(3)])
    store.unlock()
    return Path("demos")


class Terminal:
    """Runs the command in a thread and reads along."""

    def __init__(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys, self.said, self.code = capsys, "", -1
        self.thread = threading.Thread(target=self._run, args=(["data", "label", *words, "--no-browser"],))
        self.thread.start()

    def url(self) -> str:
        """Return the address that was printed."""
        end = time.monotonic() + 120
        while time.monotonic() < end and self.thread.is_alive():
            self.said += self.capsys.readouterr().out
            if found := re.search(r"http://\S+/", self.said):
                return found[0]
            time.sleep(0.01)
        raise AssertionError(f"no address: {self.said}")

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        self.thread.join(120)
        self.said += self.capsys.readouterr().out
        return self.code

    def _run(self, words: list[str]) -> None:
        self.code = main(words)


def send(url: str, content: Any) -> None:  # noqa: ANN401
    """Send what the page would send."""
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()


def test_labels_of_the_page_lie_beside_the_dataset_and_the_end_says_how_to_go_on(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(["demos", "--points", "target", "--frames", "2"], capsys)
    url = terminal.url()
    send(f"{url}labels", {"labels": [{"item": 0, "point": "target", "state": "seen", "place": [0.5, 0.25]}]})
    send(f"{url}finish", {})
    assert terminal.end() == 0
    assert list(load(dataset / "labels.jsonl").values()) == [{"target": (0.5, 0.25)}]
    assert "2 frames to label" in terminal.said
    assert "1 of 2 frames are labelled in demos/labels.jsonl." in terminal.said
    assert "sinew train bc --data demos" in terminal.said


def test_recordings_in_hdf5_are_labelled_beside_their_file(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("h5py")
    assert main(["data", "convert", str(dataset), "--to", "hdf5", "--out", "demos.hdf5"]) == 0
    flags = ["--instruction", "pick it up", "--image-size", "8", "8", "--out", "here"]
    terminal = Terminal(["demos.hdf5", "--points", "target", *flags], capsys)
    url = terminal.url()
    send(f"{url}labels", {"labels": [{"item": 0, "point": "target", "state": "seen", "place": [0.5, 0.25]}]})
    send(f"{url}finish", {})
    assert terminal.end() == 0
    assert list(load(Path("demos.hdf5.labels.jsonl")).values()) == [{"target": (0.5, 0.25)}]
    wanted = "--instruction 'pick it up' --data.ingest.image-size 8 8 --out here"
    assert f"Train with them: sinew train bc --data demos.hdf5 {wanted}" in terminal.said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere"),
        (["demos", "--cameras", "rear"], "the dataset has front"),
        (["demos", "--points", ""], "points none"),
        (["demos", "--frames", "0"], "1 to 500"),
    ],
)
def test_a_mistake_is_one_clear_error(
    dataset: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["data", "label", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (dataset / "labels.jsonl").exists()
