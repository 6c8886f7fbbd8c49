from __future__ import annotations

import dataclasses
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import Page, open_page
from sinew.core.errors import ConfigError, DataError
from sinew.core.local_page import LocalPage
from sinew.core.types import CameraSpec
from sinew.data.episode import Episode
from sinew.data.label_page import LabelPage, choose_frames
from sinew.data.labels import Label, append, load, read
from sinew.data.store import Store
from toy_data import SPEC, random_episode

EYES = dataclasses.replace(SPEC, cameras={"front": CameraSpec(40, 60), "wrist": CameraSpec(40, 60)})
POINTS = ("target", "goal")
Served = tuple[LabelPage, LocalPage]
ABSENT = """
frame/4/0 frame/0/8 frame/-1/0 frame/0/² frame/0/9999999999999 frame/0 frame/0/0/0 labels favicon.ico
../labels.jsonl %2e%2e/labels.jsonl frame/../../0 templates/label.html
"""


def store_of(path: Path, sentences: list[str], *, frames: int = 8, held_out: tuple[int, ...] = ()) -> Store:
    """Return a store with an episode for each sentence; a white square moves right through dark images."""
    store = Store.create(path, EYES)
    episodes: list[Episode] = []
    for number, sentence in enumerate(sentences):
        images = np.full((frames, 3, 40, 60), 30, dtype=np.uint8)
        for tick in range(frames):
            images[tick, :, 16:24, 10 + 4 * tick : 18 + 4 * tick] = 250
        both = {"front": images, "wrist": 255 - images}
        changes: dict[str, Any] = {"held_out": number in held_out, "targets": {}, "spec": EYES}
        episodes.append(random_episode(number, frames, images=both, instruction=sentence, **changes))
    store.append(episodes)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two sentences, three episodes."""
    return store_of(tmp_path / "store", ["take it", "put it there", "take it"])


@pytest.fixture
def served(store: Store, tmp_path: Path) -> Iterator[Served]:
    """A page over four frames, and its server."""
    page = LabelPage(store, tmp_path / "labels.jsonl", points=POINTS, count=4, command="sinew train bc --data demos")
    with LocalPage(page.get, page.post) as local:
        yield page, local


def fetch(url: str, body: Any = None) -> tuple[int, bytes]:  # noqa: ANN401
    """Return code and content of an address, to which a body is sent as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def states(path: Path) -> dict[tuple[str, int, str], str]:
    """Return what the log says, by episode, frame and point."""
    return {key[:3]: label.state for key, label in read(path).items()}


# ------------------------------------------------------------------------------- which frames


def test_first_frames_of_all_sentences_come_first(tmp_path: Path) -> None:
    store = store_of(tmp_path, ["a"] * 10 + ["b"] * 2 + ["c"])
    chosen = choose_frames(store, 5)
    assert len(set(chosen)) == 5
    assert {store.records[number].instruction for number, frame in chosen if frame == 0} == {"a", "b", "c"}
    assert [frame > 0 for _, frame in chosen] == [False, False, False, False, True]


def test_frames_are_spread_over_the_recording(tmp_path: Path) -> None:
    for name, sentences in {"same": ["a"] * 32, "other": [str(number) for number in range(32)]}.items():
        chosen = choose_frames(store_of(tmp_path / name, sentences, frames=1), 8)
        assert sorted(number for number, _ in chosen) == [0, 4, 8, 12, 16, 20, 24, 28]


def test_asking_for_more_frames_keeps_the_first_ones(store: Store) -> None:
    every = choose_frames(store, 1000)
    assert len(every) == len(set(every)) == store.num_frames
    assert all(choose_frames(store, count) == every[:count] for count in range(store.num_frames))


def test_held_out_episodes_are_not_shown(tmp_path: Path) -> None:
    store = store_of(tmp_path, ["a", "b", "c"], held_out=(1,))
    assert {number for number, _ in choose_frames(store, 100)} == {0, 2}


# --------------------------------------------------------------------------------- over HTTP


def test_page_is_one_file_that_asks_for_nothing_from_outside(served: Served) -> None:
    status, content = fetch(served[1].url)
    assert status == 200
    assert b"<!doctype html>" in content
    assert b"%NONCE%" not in content
    assert b"http" not in content.replace(b"http://www.w3.org/2000/svg", b"")


def test_content_lists_frames_and_what_is_known_of_them(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append(path, [Label("train/0", 0, "target", "front", "seen", (0.25, 0.5))])
    page = LabelPage(store, path, points=POINTS, count=4)
    with LocalPage(page.get, page.post) as local:
        content = json.loads(fetch(f"{local.url}content")[1])
    assert content["points"] == ["target", "goal"]
    assert content["items"][0] == {
        "episode": 0,
        "frame": 0,
        "frames": 8,
        "camera": "front",
        "instruction": "take it",
        "size": [60, 40],
        "labels": {"target": {"state": "seen", "place": [0.25, 0.5]}},
    }
    assert content["items"][1]["instruction"] == "put it there"


def test_image_is_the_recorded_one(served: Served) -> None:
    page, local = served
    status, content = fetch(f"{local.url}frame/0/3")
    image = np.asarray(Image.open(io.BytesIO(content)))
    assert status == 200
    np.testing.assert_array_equal(image.transpose(2, 0, 1), page.store.column("images.front")[3])


def test_labels_are_saved_when_they_are_sent(served: Served) -> None:
    page, local = served
    marks = [{"item": 0, "point": "target", "state": "seen", "place": [0.5, 0.25]}]
    assert fetch(f"{local.url}labels", {"labels": marks})[0] == 200
    assert load(page.path) == {("train/0", 0): {"target": (0.5, 0.25)}}
    assert page.labelled == 0
    assert fetch(f"{local.url}labels", {"labels": [{"item": 0, "point": "goal", "state": "none"}]})[0] == 200
    assert page.labelled == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "labels: Field required"),
        ([], "valid"),
        ({"labels": [{"item": 4, "point": "target", "state": "hidden"}]}, "frame 4"),
        ({"labels": [{"item": -1, "point": "target", "state": "hidden"}]}, "frame -1"),
        ({"labels": [{"item": 0, "point": "tool", "state": "hidden"}]}, "'tool'"),
        ({"labels": [{"item": 0, "point": "target", "state": "gone"}]}, "state"),
        ({"labels": [{"item": 0, "point": "target", "state": "seen"}]}, "place"),
        ({"labels": [{"item": 0, "point": "target", "state": "seen", "place": [0.5, 2]}]}, "0 to 1"),
        ({"labels": [{"item": 0, "point": "target", "state": "seen", "place": [0.5, float("nan")]}]}, "0 to 1"),
        ({"labels": [{"item": 0, "point": "target", "state": "seen", "place": [0.5]}]}, "place"),
        ({"labels": [{"item": 0, "point": "target", "state": "hidden", "path": "/etc/passwd"}]}, "path: unknown"),
    ],
)
def test_a_message_that_makes_no_sense_saves_nothing(
    served: Served,
    body: Any,  # noqa: ANN401
    message: str,
) -> None:
    page, local = served
    status, content = fetch(f"{local.url}labels", body)
    assert status == 400
    assert message in json.loads(content)["error"]
    assert not page.path.exists()


@pytest.mark.parametrize("path", ABSENT.split())
def test_what_is_not_there_is_a_404(served: Served, path: str) -> None:
    assert fetch(served[1].url + urllib.request.quote(path, safe="/%."))[0] == 404


def test_a_message_to_nowhere_is_a_404(served: Served) -> None:
    assert fetch(f"{served[1].url}content", {})[0] == 404


def test_the_person_says_when_it_is_done(served: Served) -> None:
    page, local = served
    assert not page.finished.is_set()
    assert fetch(f"{local.url}finish", {})[0] == 200
    assert page.finished.wait(5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": ()}, "points none"),
        ({"points": ("a", "a")}, "each once"),
        ({"points": ("not good",)}, "letters"),
        ({"cameras": ("rear",)}, "front, wrist"),
        ({"cameras": ("front", "front")}, "each once"),
        ({"count": 0}, "1 to 500"),
        ({"count": 501}, "1 to 500"),
    ],
)
def test_wrong_settings_are_refused(store: Store, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabelPage(store, tmp_path / "labels.jsonl", **{"points": POINTS, **settings})


def test_a_dataset_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no episode to label"):
        LabelPage(Store.create(tmp_path, EYES), tmp_path / "labels.jsonl", points=POINTS)


def test_a_damaged_log_is_refused_before_the_page_opens(store: Store, tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="schema version"):
        LabelPage(store, tmp_path / "labels.jsonl", points=POINTS)


def test_every_camera_asked_for_is_shown(store: Store, tmp_path: Path) -> None:
    page = LabelPage(store, tmp_path / "labels.jsonl", points=POINTS, cameras=("wrist", "front"), count=2)
    assert [(item.episode, item.camera) for item in page.items] == [
        (0, "wrist"),
        (0, "front"),
        (1, "wrist"),
        (1, "front"),
    ]


# ------------------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    """One browser for all of these tests."""
    with open_page() as page:
        yield page


def ready(tab: Page) -> None:
    """Wait until the page shows its frame and has saved all it knows."""
    tab.wait_for("content && $('image').complete && $('image').naturalWidth")
    tab.evaluate("last")


def test_on_a_phone_all_is_on_one_screen_and_large_enough_for_a_thumb(served: Served, tab: Page) -> None:
    _, local = served
    tab.window(390, 844)
    tab.goto(local.url)
    ready(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = tab.evaluate(
        "[...document.querySelectorAll('aside button, #finish')].map((one) => one.getBoundingClientRect().toJSON())"
    )
    assert min(box["height"] for box in boxes) >= 44
    assert max(box["bottom"] for box in boxes) <= 844
    assert not tab.evaluate("[...document.querySelectorAll('kbd')].some((one) => one.offsetParent)")
    tab.click("#stage", 0.25, 0.5)
    assert tab.text("#ask") == "Click the goal."
    tab.window(1200, 860)


def test_a_person_labels_all_frames_in_a_browser(served: Served, tab: Page) -> None:
    page, local = served
    tab.goto(local.url)
    ready(tab)
    assert tab.text("#sentence") == "take it"
    assert tab.text("#ask") == "Click the target."
    tab.click("#stage", 0.25, 0.5)
    assert tab.text("#ask") == "Click the goal."
    tab.press("n")  # holds for the other episode with this sentence too
    tab.wait_for("at === 1")
    assert tab.text("#sentence") == "put it there"
    tab.click("#stage", 0.5, 0.5)
    tab.click("#stage", 0.75, 0.125)
    tab.wait_for("at === 2")
    assert tab.text("#count") == "2 of 4"
    tab.press("h")
    tab.wait_for("at === 3")
    tab.click("#stage", 0.875, 0.875)
    tab.wait_for("over")
    assert tab.text("#command") == "sinew train bc --data demos"
    ready(tab)
    tab.press("Enter")
    assert page.finished.wait(10)
    tab.wait_for("document.querySelector('h1').innerText.startsWith('Saved')")
    assert tab.complaints == []
    places = load(page.path)
    assert set(places) == {("train/0", 0), ("train/1", 0), ("train/2", 4)}
    np.testing.assert_allclose(places["train/0", 0]["target"], (0.25, 0.5), atol=0.005)
    np.testing.assert_allclose(places["train/1", 0]["goal"], (0.75, 0.125), atol=0.005)
    assert page.labelled == 4


def test_undo_takes_back_the_last_answer_on_the_page_and_on_disk(served: Served, tab: Page) -> None:
    page, local = served
    tab.goto(local.url)
    ready(tab)
    assert tab.evaluate("document.querySelector('#undo').disabled")
    tab.click("#stage", 0.25, 0.5)
    tab.click("#stage", 0.75, 0.5)
    tab.wait_for("at === 1")
    tab.press("u")
    ready(tab)
    assert (tab.evaluate("at"), tab.text("#ask")) == (0, "Click the goal.")
    assert states(page.path) == {("train/0", 0, "target"): "seen"}
    tab.click("#undo")
    ready(tab)
    assert states(page.path) == {}
    assert tab.complaints == []


def test_keys_move_between_frames_and_points_and_by_pixels(served: Served, tab: Page) -> None:
    page, local = served
    tab.goto(local.url)
    ready(tab)
    tab.press("ArrowRight")
    tab.press("ArrowRight")
    tab.press("ArrowLeft")
    assert tab.evaluate("at") == 1
    tab.press("2")
    assert tab.text("#ask") == "Click the goal."
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        tab.press(key, shift=True)
    ready(tab)
    np.testing.assert_allclose(load(page.path)["train/1", 0]["goal"], (0.5 + 2 / 60, 0.5 - 1 / 40))
    assert tab.complaints == []


def test_a_later_visit_goes_on_where_the_last_one_stopped(served: Served, tab: Page) -> None:
    page, local = served
    append(page.path, [Label("train/0", 0, point, "front", "seen", (0.5, 0.5)) for point in POINTS])
    tab.goto(local.url)
    ready(tab)
    assert (tab.evaluate("at"), tab.text("#count")) == (1, "1 of 4")


def test_page_says_when_nothing_can_be_saved_any_more(store: Store, tmp_path: Path, tab: Page) -> None:
    page = LabelPage(store, tmp_path / "labels.jsonl", points=POINTS, count=4)
    with LocalPage(page.get, page.post) as local:
        tab.goto(local.url)
        ready(tab)
        (tmp_path / "labels.jsonl").mkdir()
        tab.click("#stage")
        tab.wait_for("!document.querySelector('#trouble').hidden")
        assert "could not be extended" in tab.text("#trouble")
        assert tab.text("#count") == "0 of 4"
        assert tab.evaluate("Object.keys(content.items[0].labels).length") == 0


def test_holding_space_plays_the_episode(served: Served, tab: Page) -> None:
    tab.goto(served[1].url)
    ready(tab)
    tab.command("Input.dispatchKeyEvent", type="keyDown", key=" ", text=" ", windowsVirtualKeyCode=32)
    tab.wait_for("document.querySelector('#image').src.endsWith('/frame/0/4')")
    tab.command("Input.dispatchKeyEvent", type="keyUp", key=" ", windowsVirtualKeyCode=32)
    tab.wait_for("document.querySelector('#image').src.endsWith('/frame/0/0')")
    assert tab.complaints == []
