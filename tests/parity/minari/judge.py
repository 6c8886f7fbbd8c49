"""Opens data sets that sinew wrote with Minari itself and compares every observation, action and ending."""

import sys
from pathlib import Path

import minari
import numpy as np


def check(root):
    dataset = minari.MinariDataset(root / "data")
    episodes = list(dataset.iterate_episodes())
    assert len(episodes) == 3
    assert dataset.total_steps == sum(len(item) for item in episodes)
    told = list(dataset.storage.get_episode_metadata(range(3)))
    for number, item in enumerate(episodes):
        expected = dict(np.load(f"{root}_{number}.npz"))
        seen = item.observations if isinstance(item.observations, dict) else {"state": item.observations}
        for name, values in seen.items():
            wanted = expected[name]
            if name != "state":  # what was seen after the last action is the last frame again
                wanted = np.concatenate([wanted, wanted[-1:]])
            assert np.array_equal(values, wanted), (number, name)
            space = dataset.observation_space if name == "state" and len(seen) == 1 else dataset.observation_space[name]
            assert values[0] in space, (name, space)
        assert np.array_equal(item.actions, expected["action"])
        assert all(action in dataset.action_space for action in item.actions)
        assert np.array_equal(item.rewards, expected["reward"].astype(float))
        assert item.terminations[-1] == expected["terminated"] != item.truncations[-1]
        assert not item.terminations[:-1].any()
        assert not item.truncations[:-1].any()
        assert item.infos["success"].any() == expected["success"]
        assert told[number]["instruction"] == 'say "été"'
    print(f"  {root.name}: {len(episodes)} episodes as written")


for name in ("whole", "state"):
    check(Path(sys.argv[1]) / name)
