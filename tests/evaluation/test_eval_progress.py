"""What an evaluation says of the time that is left."""

import logging

from mmgr_jax.evaluation.trials import progress


def test_large_pieces_count_for_more_than_small_ones(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    bar = progress.WorkProgress("heads", [6.0, 1.0, 1.0])
    with caplog.at_level(logging.INFO):
        for seconds, name in ((60, "a"), (70, "b"), (80, "c")):
            now[0] = seconds
            bar.step(name)
    assert caplog.messages == [
        "heads: 1 of 3 (a), 1 min 00 s, about 20 s left",
        "heads: 2 of 3 (b), 1 min 10 s, about 10 s left",
        "heads: all 3, 1 min 20 s",
    ]
