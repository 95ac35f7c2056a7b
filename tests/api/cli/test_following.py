from __future__ import annotations

from api.commands.following import following


def job(state, done=0, why=None):
    error = None if why is None else {"code": "index_unavailable", "detail": why}
    return {"id": "1", "kind": "reindex", "state": state, "progress": {"done": done, "total": 9}, "error": error}


def test_what_a_job_waits_for_is_said_once_and_its_progress_each_time(capsys):
    told = []
    show = following(lambda done, total: told.append((done, total)))
    for each in (job("running", 1), job("queued", 2, "a node is away"), job("queued", 2, "a node is away")):
        show(each)

    assert told == [(1, 9), (2, 9), (2, 9)]
    assert capsys.readouterr().err == "lookalike: the job waits and goes on by itself: a node is away\n"


def test_the_reason_of_a_failure_is_left_to_whoever_waits(capsys):
    following(lambda done, total: None)(job("failed", 2, "it was refused"))
    assert capsys.readouterr().err == ""
