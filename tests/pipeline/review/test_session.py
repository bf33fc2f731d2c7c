"""What a review keeps, takes back and refuses, without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pipeline.report.waive import WaiveRequest, parse_grounds, waive_hotspots
from pipeline.report.waiver_file import read_waivers
from pipeline.review.decision_file import NAME
from pipeline.review.session import Request, ReviewSession
from stages.errors import IncompleteError, UsageError
from stages.review.decisions import STATES, start_file
from stages.review.spots import Filter
from tests.pipeline.review.conftest import CopyRun

Review = Callable[[Path], ReviewSession]


@pytest.fixture
def run(copy_run: CopyRun) -> Path:
    return copy_run()


@pytest.fixture
def review() -> Iterator[Review]:
    """Return a function that reviews a run; all reviews are closed at the end."""
    with ExitStack() as reviews:

        def begin(run: Path) -> ReviewSession:
            return reviews.enter_context(closing(ReviewSession(run, run.parent / "waivers.toml")))

        yield begin


def ask(
    what: str, hotspot: int, *, by: str = "N. N.", whole: bool = False, text: str = ""
) -> Request:
    return Request(what=what, by=by, hotspot=hotspot, whole_class=whole, text=text)


def states(session: ReviewSession) -> list[str]:
    return [STATES[each] for each in session.state]


def members(session: ReviewSession, hotspot: int) -> set[int]:
    number = session.table.class_id[hotspot - 1]
    return {row + 1 for row, each in enumerate(session.table.class_id) if each == number}


def large_class(session: ReviewSession) -> int:
    """A hotspot of the largest class."""
    return session.view.classes[0].representative


def test_decisions_outlive_the_review_and_name_who(review: Review, run: Path) -> None:
    session = review(run)
    session.decide(ask("accepted", 1))
    session.decide(ask("comment", 1, by="Else", text="<b>seen</b>"))
    session.decide(ask("fix", 2))
    session.close()
    again = review(run)
    assert states(again)[:2] == ["accepted", "fix"]
    assert [(note.what, note.by, note.text) for note in again.list_notes(1)] == [
        ("accepted", "N. N.", ""), ("comment", "Else", "<b>seen</b>"),
    ]  # fmt: skip
    assert again.list_notes(1)[0].at.endswith("Z")
    again.close()


def test_a_class_is_decided_where_it_is_open(review: Review, run: Path) -> None:
    session = review(run)
    first = large_class(session)
    every = members(session, first)
    assert len(every) > 3
    session.decide(ask("fix", first))
    assert session.decide(ask("accepted", first, whole=True)).changed == len(every) - 1
    assert states(session)[first - 1] == "fix"
    assert session.decide(ask("open", first, whole=True)).changed == len(every)
    assert set(states(session)) == {"open"}
    session.decide(ask("accepted", first, whole=True))
    with pytest.raises(UsageError, match="nothing to decide"):
        session.decide(ask("fix", first, whole=True))


def test_a_waiver_is_given_kept_and_taken_back(review: Review, run: Path) -> None:
    session = review(run)
    first = large_class(session)
    given = session.decide(ask("waived", first, whole=True, text="measured"))
    (waiver,) = read_waivers(session.waiver_file)
    assert (waiver.id, waiver.reason, waiver.by) == (given.waiver, "measured", "N. N.")
    assert f"class C{session.table.class_id[first - 1]} of" in waiver.what
    with pytest.raises(UsageError, match="is waived; open it first"):
        session.decide(ask("accepted", first))
    session.close()
    again = review(run)
    assert states(again).count("waived") == given.changed == len(members(again, first))
    opened = again.decide(ask("open", first))  # one of them: the waiver is of all
    assert opened.changed == given.changed
    assert set(states(again)) == {"open"}
    assert read_waivers(again.waiver_file) == ()
    again.close()


def test_a_waiver_is_the_one_of_the_command(review: Review, run: Path) -> None:
    other = run.parent / "other.toml"
    grounds = parse_grounds("measured", "N. N.", None)
    waive_hotspots(WaiveRequest(run=run, file=other, grounds=grounds, hotspots=[3]))
    session = review(run)
    session.decide(ask("waived", 3, text="measured"))
    assert read_waivers(session.waiver_file) == read_waivers(other)


def test_waivers_of_others_are_shown_and_not_taken_back(review: Review, run: Path) -> None:
    file = run.parent / "waivers.toml"
    grounds = parse_grounds("of last year", "Else", None)
    waive_hotspots(WaiveRequest(run=run, file=file, grounds=grounds, hotspots=[3]))
    session = review(run)
    assert states(session)[2] == "waived"
    with pytest.raises(UsageError, match="not given in this review; take it out of"):
        session.decide(ask("open", 3))
    assert len(read_waivers(file)) == 1


def test_a_waiver_that_was_taken_out_by_hand_counts_no_more(review: Review, run: Path) -> None:
    session = review(run)
    session.decide(ask("waived", 3, text="measured"))
    session.close()
    session.waiver_file.unlink()
    again = review(run)
    assert states(again)[2] == "open"
    assert [note.what for note in again.list_notes(3)] == ["waived"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ask("waived", 1), "reason"), (ask("comment", 1), "comment is empty"),
        (ask("accepted", 0), "there is no hotspot 0"),
        (ask("accepted", 1, by=" "), "nobody decides"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_leaves_no_trace(
    review: Review, run: Path, request_: Request, message: str
) -> None:
    session = review(run)
    before = (run / NAME).read_bytes()
    with pytest.raises(UsageError, match=message):
        session.decide(request_)
    assert (run / NAME).read_bytes() == before
    assert not session.waiver_file.exists()
    assert set(states(session)) == {"open"}


def test_one_review_at_a_time(review: Review, run: Path) -> None:
    session = review(run)
    with pytest.raises(UsageError, match="another hotscan review shows this run"):
        review(run)
    session.close()
    review(run).close()


def test_decisions_about_other_hotspots_are_refused(review: Review, run: Path) -> None:
    review(run).close()
    file = run / NAME
    text = file.read_text()
    file.write_text(text.replace('"hotspots": "', '"hotspots": "0'))
    with pytest.raises(IncompleteError, match="line 1 is not as it was written"):
        review(run)
    file.write_text(start_file("0" * 64) + "\n")
    with pytest.raises(UsageError, match="is of other hotspots: the run was scanned again"):
        review(run)


def test_a_line_cut_by_a_kill_is_dropped(review: Review, run: Path) -> None:
    session = review(run)
    session.decide(ask("accepted", 1))
    session.decide(ask("accepted", 2))
    session.close()
    whole = (run / NAME).read_bytes()
    (run / NAME).write_bytes(whole[:-5])
    again = review(run)
    assert states(again)[:2] == ["accepted", "open"]
    again.decide(ask("fix", 3))
    again.close()
    assert states(review(run))[:3] == ["accepted", "open", "fix"]


def test_the_file_is_not_written_through_a_link(review: Review, run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("")
    (run / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IncompleteError, match="is a symbolic link, which is never followed"):
        review(run)


def test_filters_follow_decisions(review: Review, run: Path) -> None:
    session = review(run)
    every = len(session.table)
    only_open = Filter(states=frozenset({"open"}))
    assert session.choose(only_open)[0].sum() == every
    session.decide(ask("accepted", 5))
    chosen, ranks = session.choose(only_open)
    assert chosen.sum() == len(ranks) == every - 1
    assert not chosen[4]
