"""The words of the demo's page; the page itself is tested with the demo."""

from gan_jax.report.comparison import reach_text


def test_when_scratch_is_reached():
    assert reach_text({"images": 2048, "seconds": 30.2}) == "2,048 images"
    assert reach_text(None) == "not reached"
