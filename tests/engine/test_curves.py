"""The picture of a run: what stands in which panel, with scores and without."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from engine.records import changed
from sinew.engine.curves import begun, draw_curves, panels_of
from sinew.engine.diagnose import diagnose
from sinew.engine.evidence import Evidence


def test_each_column_has_its_panel_and_details_have_none() -> None:
    panels = panels_of(Evidence(changed(grad_norm=lambda _: 1.0)))
    assert panels["loss"] == ["loss"]
    assert panels["learning rate"] == ["lr"]
    assert panels["gradient norm"] == ["grad_norm"]
    assert panels["score and held-out"][0] == "score"
    assert {"error/training", "error/held_out"} <= set(panels["score and held-out"])


def test_curves_are_drawn_with_and_without_scores_and_findings(tmp_path: Path) -> None:
    rows = [{"update": u, "loss": 1 / u, "lr": 1e-3, "grad_norm": 1.0, "elapsed_s": 1.0} for u in (1, 2, 3)]
    found = diagnose(changed(probe__spread=lambda _: 0.01))[0].row(3)
    draw_curves(rows, tmp_path / "a.png")
    draw_curves([*rows, {"update": 3, "score": -0.5}], tmp_path / "b.png")
    draw_curves([*rows, found], tmp_path / "c.png", title="a run")
    pictures = {(tmp_path / f"{name}.png").read_bytes() for name in "abc"}
    assert len(pictures) == 3
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1210, 770)


def test_stages_are_marked_where_they_begin_and_are_no_loss() -> None:
    rows = [{"update": u, "loss": 1 / u, "stage": (0.0, 0.0, 0.4, 1.0)[u - 1], "exact": 0.1 * u} for u in (1, 2, 3, 4)]
    evidence = Evidence(rows)
    assert begun(evidence) == [2]
    assert begun(Evidence([{"update": 1, "loss": 1.0}])) == []
    panels = panels_of(evidence)
    assert (panels["loss"], panels["score and held-out"]) == (["loss"], ["exact"])


def test_run_without_rows_has_a_picture_that_says_so(tmp_path: Path) -> None:
    draw_curves([], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
