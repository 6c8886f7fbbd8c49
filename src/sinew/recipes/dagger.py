"""DAgger: now and then the policy acts, the expert labels what it met, and learning goes on with all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Protocol, TypeVar

from torch import nn

from sinew.core.errors import DataError
from sinew.core.types import Cursor, Metrics, Recipe, Stateful
from sinew.data.episode import Episode
from sinew.data.store import Store
from sinew.engine.distributed import world

BatchT = TypeVar("BatchT")


class GrowingRecipe(Recipe[BatchT], Protocol[BatchT]):
    """A recipe whose data may grow between two of its updates.

    It must make batch k no earlier than it is asked for it.
    """

    def grew(self, update: int) -> None:
        """Learn from all the data there is now, from this update on."""
        ...


class Dagger:
    """Dataset aggregation (Ross 2011, arXiv:1011.0686) inside one schedule of another recipe.

    We differ: no beta schedule, the expert takes over for a few ticks at random instead; one
    optimiser and one learning-rate schedule run through all rounds; a label counts for the first
    steps of a chunk only, as later ones belong to states the expert would have gone to.

    The store only grows; what counts is the number of episodes in ``state_dict``. What a killed
    process appended beyond it is cut off, and the round is repeated with the same result.

    Args:
        inner: learns; its data must include ``store``.
        store: this recipe's own.
        gather: given the round and the acting policy, returns labelled episodes; must depend on these two only. Of
            several ranks it is asked by all, and what rank 0 gets counts.
        rounds: updates before which a round takes place, ascending.
    """

    def __init__(
        self,
        inner: GrowingRecipe[BatchT],
        store: Store,
        gather: Callable[[int, nn.Module], Sequence[Episode]],
        *,
        rounds: Sequence[int],
    ) -> None:
        self.inner, self.store, self.gather = inner, store, gather
        self.rounds = tuple(rounds)
        self.rounds_done = 0
        self.num_episodes = 0

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What the inner recipe trains."""
        return self.inner.modules

    @property
    def optims(self) -> Mapping[str, Stateful]:
        """The inner recipe's."""
        return self.inner.optims

    def acting(self) -> nn.Module:
        """The inner recipe's."""
        return self.inner.acting()

    def batches(self, start: Cursor) -> Iterator[Any]:
        """Yield the inner recipe's batches; a round comes before the update at which it is due.

        Raises:
            DataError: the store has lost episodes.
        """
        if self.store.num_episodes < self.num_episodes:
            raise DataError(
                f"{self.store.path}: {self.store.num_episodes} episodes, the saved state counts {self.num_episodes}. "
                "Restore the store, or train anew in another run directory."
            )
        if world().is_main:
            self.store.truncate(self.num_episodes)
        self._see()
        stream = self.inner.batches(start)
        for update in count(start.update):
            while self.rounds_done < len(self.rounds) and self.rounds[self.rounds_done] <= update:
                self.collect(update)
            yield next(stream)

    def collect(self, update: int) -> None:
        """Run the next round and let the inner recipe learn from it; every rank must, and rank 0 writes."""
        episodes = self.gather(self.rounds_done, self.acting())
        if world().is_main:
            self.store.append(episodes)
        self._see()
        self.num_episodes = self.store.num_episodes
        self.rounds_done += 1
        self.inner.grew(update)

    def _see(self) -> None:
        """Wait until rank 0 has written, and look at what it wrote."""
        world().barrier()
        if not world().is_main:
            self.store.reload()

    def update(self, batch: Any) -> Metrics:  # noqa: ANN401  (whatever the inner recipe takes)
        """Do as the inner recipe does."""
        return self.inner.update(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the inner state and how much of the store counts."""
        return {"inner": self.inner.state_dict(), "rounds_done": self.rounds_done, "num_episodes": self.num_episodes}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take it back; the store is cut when ``batches`` begins."""
        self.inner.load_state_dict(state["inner"])
        self.rounds_done, self.num_episodes = state["rounds_done"], state["num_episodes"]
