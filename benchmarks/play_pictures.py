"""Takes the pictures of docs/play.md: a policy plays on the page, in a headless browser.

python benchmarks/play_pictures.py runs/tabletop-XXXXXXXX
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from PIL import Image

from sinew.core.local_page import LocalPage
from sinew.run.play.cast import cast_run
from sinew.run.play.game import Game
from sinew.run.play.live import Live
from sinew.run.play.web import Web

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from browser import Page, open_page

PLACE = Path(__file__).resolve().parent.parent / "docs" / "play"
ENDED = "['success', 'failure', 'late'].includes(state.phase)"


def main() -> None:
    """Say some sentences in one scene and keep three pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of the scene")
    options = parser.parse_args()
    live = Live(
        Game(cast_run(options.run, policy="trained", device="cpu", shield=True, limits=None), seed=options.seed)
    )
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    try:
        web = Web(live)
        with LocalPage(web.get, web.post) as server, open_page(server.url, width=1280, height=800) as page:
            page.wait_for("state")
            ideas = list(live.game.ideas)
            print("\n".join(ideas))
            for word in ("touch", "lift"):
                say(page, next(idea for idea in ideas if idea.startswith(word)))
                page.wait_for(ENDED)
            page.evaluate("tell('speed', { speed: 0.25 })")
            say(page, next(idea for idea in ideas if idea.startswith(("put", "place"))))
            page.wait_for("state.phase === 'acting' && state.ticks >= 15")
            page.press(" ")
            picture(page, "page")
            page.evaluate("tell('speed', { speed: 1 })")
            page.press(" ")
            page.wait_for(ENDED)
            say(page, next(idea for idea in ideas if idea.startswith("lift")))
            page.wait_for(ENDED)
            page.window(1280, 800, dark=True)
            picture(page, "dark")
            page.window(390, 844)
            picture(page, "phone")
    finally:
        live.stop()
        thread.join(60)


def say(page: Page, sentence: str) -> None:
    """Type a sentence and send it."""
    page.press(sentence[0])
    page.type(sentence[1:])
    page.press("Enter")
    page.wait_for("state.phase === 'acting'")


def picture(page: Page, name: str) -> None:
    """Write what is seen, once the fine picture is there."""
    page.wait_for("state.size === 720")
    page.wait_for("document.querySelector('#hint').textContent")
    raw = PLACE / f"{name}.png"
    page.screenshot(raw)
    with Image.open(raw) as image:
        image.convert("RGB").save(raw.with_suffix(".jpg"), quality=88, optimize=True)
    raw.unlink()


if __name__ == "__main__":
    main()
