"""JUnit XML, as a reader of its own reads it and by the rules of its schema."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

from junitparser import Error, Failure, JUnitXml, Skipped

from stages.contracts import Box, Defect, Hotspot, Verdict
from stages.exports.junit import JunitData, format_junit
from stages.findings import Review
from stages.review.levels import review_classes
from tests.support.found import make_class, make_finding

SPOTS = [
    Hotspot(n, 1000 * n, -500, 0.9, "grid", 1, 0, "00", 1, Box(0, 0, 10, 10)) for n in (1, 2, 3)
]
FINDINGS = {n: make_finding(n, 1 + n // 3, "a<&\x1b]]>") for n in (1, 2, 3)}
REVIEWS = {1: Review(2, "simulation"), 2: Review(1, "score"), 3: Review(None, "simulation")}
DATA = JunitData(
    layout='chip "7" <&>\x00.gds', finished="2026-03-04T17:22:05+00:00", seconds=61.5,
    gaps=(), waivers=(), dbu_nm=0.5, hotspots=SPOTS,
    verdicts={1: Verdict(1, Defect("pinch", 0, 0, "over", 0.25)), 3: Verdict(0, None)},
    findings=FINDINGS, reviews=REVIEWS,
    classes=[make_class(1, 1, 2), replace(make_class(2, 3, 1), cell="")],
    class_reviews=review_classes(FINDINGS, REVIEWS),
)  # fmt: skip

# Of the schema of Ant's task: the attributes that must be there, and the order of the children.
REQUIRED = {
    "testsuites": set(),
    "testsuite": {
        "package", "id", "name", "timestamp", "hostname", "tests", "failures", "errors", "time",
    },
    "testcase": {"name", "classname", "time"},
    "failure": {"type"},
    "error": {"type"},
}  # fmt: skip
ORDER = ["properties", "testcase", "system-out", "system-err"]


def read(data: JunitData, folder: Path) -> JUnitXml:
    (folder / "junit.xml").write_text(format_junit(data))
    return JUnitXml.fromfile(str(folder / "junit.xml"))


def test_a_reader_finds_the_classes_that_fail(tmp_path: Path) -> None:
    (suite,) = read(DATA, tmp_path)
    assert suite.name == r'chip "7" <&>\x00.gds'
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (3, 1, 0, 0)
    assert (suite.time, suite.timestamp) == (61.5, "2026-03-04T17:22:05")
    whole, first, second = suite
    assert [whole.result, second.result] == [[], []]
    assert (first.classname, first.name) == ("hotscan.level1", "C1 space in inv_1")
    assert second.classname == "hotscan.prints"
    (failure,) = first.result
    assert isinstance(failure, Failure)
    assert failure.message == "2 hotspots of class C1, space; worst level 1"
    assert failure.text.splitlines() == [
        r"H1 level 2 at 0.5,-0.25 um: pinch of severity 0.250, score 0.900, in "
        r"block(1,2,r0)/a<&\x1b]]>(3,4,m90)",
        r"H2 level 1 at 1,-0.25 um: not simulated, score 0.900, in "
        r"block(1,2,r0)/a<&\x1b]]>(3,4,m90)",
    ]


def test_an_incomplete_scan_has_an_error(tmp_path: Path) -> None:
    (suite,) = read(replace(DATA, gaps=("2 regions have no verdict", "resume it")), tmp_path)
    (error,) = next(iter(suite)).result
    assert isinstance(error, Error)
    assert error.text == "2 regions have no verdict\nresume it"
    assert suite.errors == 1


def test_waived_hotspots_do_not_fail(tmp_path: Path) -> None:
    """A class that is waived whole is skipped, with the reason; of another the rest fails."""
    waived = {n: replace(row, waiver="w-1", reason="seen <&>") for n, row in REVIEWS.items()
              if row.level}  # fmt: skip
    for reviews, result in ((REVIEWS | waived, Skipped), (REVIEWS | {1: waived[1]}, Failure)):
        data = replace(
            DATA, reviews=reviews, class_reviews=review_classes(FINDINGS, reviews),
            waivers=["w-1 in force, 2 hotspots: seen"],
        )  # fmt: skip
        (suite,) = read(data, tmp_path)
        first = list(suite)[1]
        (told,) = first.result
        assert isinstance(told, result)
        assert (suite.skipped, suite.failures) == ((1, 0) if result is Skipped else (0, 1))
        assert "w-1 in force, 2 hotspots: seen</system-out>" in format_junit(data)
    assert told.message == "1 hotspots of class C1, space; worst level 1; 1 more are waived"
    assert told.text.count("\n") == 0
    assert first.classname == "hotscan.level1"


def test_without_hotspots_there_is_one_case_that_passes(tmp_path: Path) -> None:
    (suite,) = read(replace(DATA, hotspots=(), classes=()), tmp_path)
    assert (suite.tests, suite.failures, [case.result for case in suite]) == (1, 0, [[]])


def test_many_hotspots_are_counted(tmp_path: Path) -> None:
    spots = [replace(SPOTS[0], id=n) for n in range(1, 31)]
    findings = {n: make_finding(n, 1) for n in range(1, 31)}
    reviews = {n: Review(3, "score") for n in range(1, 31)}
    data = replace(
        DATA, hotspots=spots, findings=findings, reviews=reviews, classes=[make_class(1, 1, 30)],
        class_reviews=review_classes(findings, reviews),
    )  # fmt: skip
    (suite,) = read(data, tmp_path)
    (failure,) = list(suite)[1].result
    assert len(failure.text.splitlines()) == 21
    assert failure.text.endswith("and 10 more: hotspots.csv lists them")


def test_it_keeps_to_the_schema() -> None:
    root = Xml.fromstring(format_junit(replace(DATA, gaps=("one",))))
    assert root.tag == "testsuites"
    seen = set()
    for element in root.iter():
        assert set(element.attrib) >= REQUIRED.get(element.tag, set()), element.tag
        seen.add(element.tag)
    assert seen >= {*REQUIRED, *ORDER}
    (suite,) = root
    ranks = [ORDER.index(child.tag) for child in suite]
    assert ranks == sorted(ranks)
    for case in suite.iter("testcase"):
        assert {child.tag for child in case} <= {"failure", "error", "skipped"}
