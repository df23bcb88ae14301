"""The nouns: what every verdict is worth, and ids that everybody derives alike."""

import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcomed import model
from outcomed.model import (
    JOB_NAME,
    Artifact,
    Duration,
    Job,
    JobName,
    Journal,
    Klass,
    Report,
    UnitName,
    Usec,
    Verdict,
)


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_a_class(verdict: Verdict) -> None:
    assert verdict.klass in Klass


def test_only_proof_or_a_person_makes_a_good_verdict() -> None:
    good = {verdict for verdict in Verdict if verdict.klass is Klass.GOOD}
    assert good == {Verdict.VERIFIED, Verdict.ALREADY_DONE, Verdict.ACCEPTED}


@pytest.mark.parametrize("name", ["db-backup", "a", "x@y", "dm\\x2dcrypt", "A:b_c.d", "x" * 200])
def test_a_job_is_named_like_a_unit(name: str) -> None:
    assert JOB_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", "a\n", "x" * 201, "a\0"])
def test_other_names_are_none(name: str) -> None:
    assert not JOB_NAME.fullmatch(name)


@given(st.text(), st.text())
def test_ids_are_those_of_the_standard_library(one: str, other: str) -> None:
    if not (one.isprintable() and other.isprintable()):
        return  # a lone surrogate is no UTF-8
    namespace = uuid.UUID("2f6bd58c-6bb6-4d5a-9d39-0f4a4a1c9f51")
    assert model.run_id(JobName(one), other) == uuid.uuid5(namespace, f"run\0{one}\0{other}").hex
    assert model.alert_id(one) == str(uuid.uuid5(namespace, f"alert\0{one}"))
    assert model.delivery_id(one, "firing", other) == str(
        uuid.uuid5(namespace, f"delivery\0{one}\0firing\0{other}")
    )


def test_ids_never_change() -> None:
    """Deliveries on their way and receivers that drop repeats know them."""
    run = model.run_id(JobName("backup"), "a" * 32)
    assert run == "047798c710a3526e82a05bef2ce02fec"
    assert model.alert_id(run) == "6a14bc89-2d67-5f36-89dc-f13731034bb5"
    assert (
        model.delivery_id(model.alert_id(run), "firing", "ops")
        == "f4bfd782-b10f-54a5-98ff-a7396e727e43"
    )


def test_what_identifies_a_content_is_short_and_stable() -> None:
    assert model.fingerprint(b"") == "da39a3ee5e6b4b0d3255bfef95601890"


def test_a_job_comes_back_as_it_was_stored() -> None:
    job = Job(
        JobName("x"),
        UnitName("x.service"),
        outcome=(
            Artifact("/a", min_size=1),
            Duration(at_least=Usec(1)),
            Report("a == 1"),
            Journal(never="E"),
        ),
    )
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
    assert not job.is_template
    assert Job(JobName("x@"), UnitName("x@.service")).is_template


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"name": "x", "unit": "x.service", "owner": 1}', type=Job)
