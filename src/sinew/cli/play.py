"""``sinew play``: say something to a policy and watch it, on a page or on film."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sinew.cli.words import read
from sinew.core.errors import ConfigError

if TYPE_CHECKING:
    from sinew.run.play.cast import Cast


@dataclass(frozen=True)
class PlayOptions:
    """Play with the policy of a run: on a local page, or as a film of one sentence.

    Attributes:
        run: directory of the run or one of its checkpoints; with --policy expert a preset's name will do.
        instruction: what is said, in anyone's words. Without --web it is filmed.
        web: open a page to say and move things on; so it is when nothing is said.
        state: where it begins, such as seen/lift/3; by default a scene in which the sentence makes sense.
        out: the film (MP4); by default named after the sentence.
        size: side of the film's picture [px].
        policy: trained, or expert: the world's scripted one.
        shield: let the shield stand between policy and world.
        limits: file with the shield's limits; by default those that the robot's description implies.
        port: of the page; 0 takes a free one.
        browser: whether to open the page in the browser.
        seed: of the page's scenes.
        device: auto, cpu, cuda or mps.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    instruction: str | None = None
    web: bool = False
    state: str | None = None
    out: Path | None = None
    size: int = 480
    policy: Literal["trained", "expert"] = "trained"
    shield: bool = False
    limits: Path | None = None
    port: int = 0
    browser: bool = True
    seed: int = 0
    device: str = "auto"


def play(words: list[str]) -> int:
    """Play with a policy."""
    options = read(PlayOptions, words, "sinew play")
    on_page = options.web or options.instruction is None
    if on_page and options.out is not None:
        raise ConfigError(f"--out {options.out}: films are made of an --instruction, without --web.")
    if options.out is not None and options.out.suffix.lower() != ".mp4":
        named = options.out.parent / f"{options.out.stem or 'film'}.mp4"
        raise ConfigError(f"--out {options.out}: films are MP4, nothing else. Write: --out {named}")
    if not 64 <= options.size <= 2048:
        raise ConfigError(f"--size {options.size}: give 64 to 2048 pixels.")
    cast = _cast(options)
    return _on_page(cast, options) if on_page else _on_film(cast, options)


def _cast(options: PlayOptions) -> Cast:
    from sinew.presets import PRESETS
    from sinew.run.play.cast import EXPERT, cast, cast_run

    if options.run in PRESETS and not Path(options.run).exists():
        if options.policy != EXPERT:
            raise ConfigError(
                f"{options.run} is a preset, and no run yet. Train it: sinew train {options.run}. "
                f"Or watch the scripted expert: sinew play {options.run} --policy expert"
            )
        return cast(
            PRESETS[options.run]("small").world,
            None,
            name="scripted expert",
            shield=options.shield,
            limits=options.limits,
        )
    return cast_run(
        Path(options.run), policy=options.policy, device=options.device, shield=options.shield, limits=options.limits
    )


def _on_film(cast: Cast, options: PlayOptions) -> int:
    from sinew.evaluate.isolate import own_torch
    from sinew.run.play.film import film_sentence

    with own_torch((options.seed,)):
        path, outcome = film_sentence(
            cast, options.instruction or "", state_id=options.state, out=options.out, size=options.size
        )
    print(f"{path}: {outcome.note}")
    return 0


def _on_page(cast: Cast, options: PlayOptions) -> int:
    import webbrowser

    from sinew.run.play.film import fitting_state
    from sinew.run.play.game import Game
    from sinew.run.play.web import play_on_page

    game = Game(cast, seed=options.seed)
    if options.state is not None or options.instruction is not None:
        game.scene(state_id=options.state or fitting_state(cast.env, options.instruction or ""))
    if options.instruction is not None:
        game.say(options.instruction)

    def opened(url: str) -> None:
        print(f"Play here: {url}\nCtrl-C ends it.", flush=True)
        if options.browser:
            webbrowser.open(url)

    try:
        play_on_page(game, port=options.port, opened=opened)
    except KeyboardInterrupt:
        print()
    return 0
