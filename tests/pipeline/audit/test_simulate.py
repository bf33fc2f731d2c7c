"""Rounds of an audit: every clip in one of them, those of another OPC left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.audit.simulate import AuditJob, add_round, list_rounds
from stages.lithography.process import load_process


@pytest.fixture
def job(tmp_path: Path) -> AuditJob:
    return AuditJob(tmp_path, 1280, load_process("krf130"), "none", 64)


def places_of(job: AuditJob) -> list[list[int]]:
    """The x of the clips of each round."""
    files = [job.run / "audit/simulated" / name / "clips.parquet" for name in list_rounds(job)]
    return sorted(pq.read_table(file)["x_dbu"].to_pylist() for file in files)


def test_a_round_holds_only_what_no_other_holds(job: AuditJob) -> None:
    y = np.zeros(4, np.int64)
    add_round(job, np.array([10, 20]), y[:2])
    add_round(job, np.array([30, 10, 20, 40]), y)
    add_round(job, np.array([40, 10]), y[:2])
    assert places_of(job) == [[10, 20], [30, 40]]


def test_the_order_of_the_clips_does_not_name_a_round(job: AuditJob, tmp_path: Path) -> None:
    other = replace(job, run=tmp_path / "other")
    x, y = np.array([5, 7, 6]), np.array([1, 1, 0])
    add_round(job, x, y)
    add_round(other, x[::-1], y[::-1])
    assert list_rounds(job) == list_rounds(other) != []


def test_another_opc_has_rounds_of_its_own(job: AuditJob) -> None:
    corrected = replace(job, opc="model")
    for each in (job, corrected):
        add_round(each, np.array([1, 2]), np.array([3, 4]))
    assert places_of(job) == places_of(corrected) == [[1, 2]]
    assert not set(list_rounds(job)) & set(list_rounds(corrected))


def test_a_damaged_list_is_removed(job: AuditJob) -> None:
    add_round(job, np.array([1, 2]), np.array([3, 4]))
    (name,) = list_rounds(job)
    folder = job.run / "audit/simulated" / name
    folder.rename(folder.with_name("none-0123456789abcdef"))  # its clips are not those of its name
    assert list_rounds(job) == []
    assert list((job.run / "audit/simulated").iterdir()) == []
