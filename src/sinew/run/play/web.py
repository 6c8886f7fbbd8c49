"""The page to play on: what it may ask, and what it is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from sinew.core.errors import DataError, SinewError
from sinew.core.local_page import LocalPage, Reply
from sinew.run.play.game import Game
from sinew.run.play.live import SPEEDS, Live

Answer = dict[str, Any]
PATIENCE_S = 10.0
"""How long a question for a newer frame waits for one [s]."""


class Web:
    """Answers the page of one game.

    Args:
        live: the running game.
    """

    def __init__(self, live: Live) -> None:
        self.live = live
        self.page = files("sinew.run.play").joinpath("page.html").read_bytes()
        self.wishes: Mapping[str, Callable[[Mapping[str, Any]], Answer]] = {
            name: getattr(self, f"_{name}") for name in WISHES
        }

    def get(self, path: str) -> Reply | None:
        """Answer a question."""
        if path == "":
            return Reply(self.page, "text/html; charset=utf-8")
        if path == "about":
            return Reply.json({**self.live.game.about(), "speeds": SPEEDS})
        number = path.removeprefix("frame/")
        if path.startswith("frame/") and number.isascii() and number.isdigit() and len(number) < 16:
            return Reply(self.live.frame(int(number), PATIENCE_S), "application/octet-stream")
        return None

    def post(self, path: str, content: Any) -> Reply | None:  # noqa: ANN401  (any JSON value)
        """Do what is wished for and answer {"result": ...}, or {"error": ...} where it cannot be done.

        Raises:
            DataError: the wish is malformed.
        """
        if path not in self.wishes:
            return None
        if not isinstance(content, dict):
            raise DataError("a wish is a JSON object.")
        return Reply.json(self.wishes[path](content))

    def _do(self, wish: Callable[[], Any]) -> Answer:
        try:
            return {"result": self.live.do(wish)}
        except SinewError as error:  # no mistake of the page, so no error of HTTP
            return {"error": str(error)}

    @property
    def _game(self) -> Game:
        return self.live.game

    def _say(self, content: Mapping[str, Any]) -> Answer:
        sentence = _take(content, "sentence", str)
        return self._do(lambda: self._game.say(sentence))

    def _understand(self, content: Mapping[str, Any]) -> Answer:
        sentence = _take(content, "sentence", str)
        return self._do(lambda: self._game.understand(sentence))

    def _scene(self, content: Mapping[str, Any]) -> Answer:
        split = _take(content, "split", str) if "split" in content else None
        return self._do(lambda: self._game.scene(split))

    def _again(self, _: Mapping[str, Any]) -> Answer:
        return self._do(self._game.again)

    def _play(self, content: Mapping[str, Any]) -> Answer:
        return self._do(self._game.go_on if _take(content, "on", bool) else self._game.pause)

    def _step(self, _: Mapping[str, Any]) -> Answer:
        return self._do(self._game.step)

    def _shield(self, content: Mapping[str, Any]) -> Answer:
        on = _take(content, "on", bool)
        return self._do(lambda: self._game.shield(on=on))

    def _hold(self, content: Mapping[str, Any]) -> Answer:
        number = _take(content, "thing", int)
        point = (_number(content, "x"), _number(content, "y"))
        if self._game.held == number:  # only the first grip can fail; the ways after it need no answer
            self.live.later(lambda: self._game.hold(number, point))
            return {"result": None}
        return self._do(lambda: self._game.hold(number, point))

    def _drop(self, _: Mapping[str, Any]) -> Answer:
        return self._do(self._game.drop)

    def _speed(self, content: Mapping[str, Any]) -> Answer:
        speed = _number(content, "speed")
        if speed not in SPEEDS:
            raise DataError(f"speed {speed:g}: there are {', '.join(f'{known:g}' for known in SPEEDS)}.")
        return self._do(lambda: setattr(self.live, "speed", speed))


WISHES = ("say", "understand", "scene", "again", "play", "step", "shield", "hold", "drop", "speed")


def _take(content: Mapping[str, Any], name: str, kind: type[Any]) -> Any:  # noqa: ANN401
    value = content.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataError(f"{name} is {value!r}; wanted {kind.__name__}.")
    return value


def _number(content: Mapping[str, Any], name: str) -> float:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise DataError(f"{name} is {value!r}; wanted a number.")
    return float(value)


def play_on_page(game: Game, *, port: int = 0, opened: Callable[[str], None]) -> None:
    """Serve the page and play until interrupted.

    Args:
        game: to play.
        port: to listen on, on this machine only; 0 for any that is free.
        opened: told the address.

    Raises:
        SinewError: the port is taken.
    """
    live = Live(game)
    web = Web(live)
    with LocalPage(web.get, web.post, port=port) as page:
        opened(page.url)
        try:
            live.run()
        finally:
            live.stop()
