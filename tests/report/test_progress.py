from __future__ import annotations

import io

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.report.watch import Progress, clock_text, rate_text


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(file, clock, total=1000, start=0, seconds=1.0, **options):
    with Progress(total, "adapt", start_images=start, file=file, clock=clock, **options) as progress:
        clock.now += 60.0  # compilation
        for images in range(start + 100, total + 1, 100):
            clock.now += seconds
            progress.update(
                images, {"d": jnp.float32(1.5), "g": np.nan, "note": "x", "grid": np.zeros(3), "none": None}
            )
    return progress


def test_speed_is_without_compilation_and_without_what_was_done_before():
    file = io.StringIO()
    progress = run(file, Clock(), start=500)
    assert "adapt: 500 images in 1:05" in file.getvalue()
    np.testing.assert_allclose(progress.images_per_s, 100.0)
    assert progress.left_s == 0


def test_speed_is_of_the_last_half_minute():
    clock = Clock()
    progress = Progress(10_000, "x", file=io.StringIO(), clock=clock)
    assert progress.images_per_s is None and progress.left_s is None
    for images in range(0, 2001, 100):
        clock.now += 10 if images < 1000 else 2
        progress.update(images)
    np.testing.assert_allclose(progress.images_per_s, 50.0)
    np.testing.assert_allclose(progress.left_s, 160.0)


def test_a_file_gets_plain_lines_now_and_then():
    file = io.StringIO()
    run(file, Clock(), total=6000, every_s=15.0)
    lines = file.getvalue().splitlines()
    assert lines[0] == "adapt: 100/6,000 images, 2 %, d 1.5, g nan", "the first dispatch, after compilation"
    assert lines[1] == "adapt: 1,600/6,000 images, 27 %, 100 images/s, 0:44 left, d 1.5, g nan"
    assert lines[-2].startswith("adapt: 6,000/6,000 images, 100 %")
    assert lines[-1] == "adapt: 6,000 images in 2:00, 50 images/s with compilation"
    assert len(lines) == 6 and "\x1b" not in file.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    file = Terminal()
    run(file, Clock())
    assert (
        "━" in file.getvalue()
        and "1000/1000" in file.getvalue()
        and "100 images/s, 0:00 left, d 1.5" in file.getvalue()
    )


def test_an_error_ends_the_bar_and_passes():
    file = io.StringIO()
    with pytest.raises(RuntimeError, match="stop"), Progress(10, "x", file=file):
        raise RuntimeError("stop")
    assert file.getvalue() == ""


def test_clock_text():
    assert [clock_text(s) for s in (0, 59.6, 3599, 7389)] == ["0:00", "1:00", "59:59", "2:03:09"]


def test_a_slow_rate_is_not_rounded_to_nothing():
    rates = 0.0, 0.4923, 3.96, 9.6, 517.4, 12345.0
    shown = "0", "0.49", "4", "10", "517", "12,345"
    assert [rate_text(rate) for rate in rates] == [f"{number} images/s" for number in shown]


def test_pauses_are_no_slow_training():
    file, clock = io.StringIO(), Clock()
    with Progress(1000, "x", file=file, clock=clock) as progress:
        for images in range(100, 501, 100):
            clock.now += 1
            progress.update(images)
            progress.pause("evaluating")
            clock.now += 50
            progress.pause("saving")  # within the other
            progress.proceed()
            progress.proceed()
    np.testing.assert_allclose(progress.images_per_s, 100.0)
    np.testing.assert_allclose(progress.left_s, 5.0)
    assert file.getvalue().splitlines()[-1] == "x: 500 images in 4:15, 2 images/s with compilation and pauses"
