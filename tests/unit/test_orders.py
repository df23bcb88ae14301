"""Orders on real files: what survives, what is refused, and that nothing is done twice."""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from outcomed import orders
from outcomed.model import JobName, RunId
from outcomed.orders import Accept, OrderError
from outcomed.paths import Paths

ORDER = Accept(JobName("backup"), RunId("ab" * 16), "the shop was emptied", "alice")
NAME = f"accept-{ORDER.run}.order"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(state=tmp_path, runtime=tmp_path)
    made.requests.mkdir(parents=True)
    return made


def test_an_order_comes_back_as_it_was_put_until_it_is_done(paths: Paths) -> None:
    path = orders.put(ORDER, paths)
    assert path.stat().st_mode & 0o777 == 0o600
    assert orders.names(paths) == [path.name] == [NAME]
    assert orders.read(NAME, paths) == ORDER
    assert not orders.wait_until_taken(path, 0)
    orders.done(NAME, paths)
    orders.done(NAME, paths)
    assert orders.wait_until_taken(path, 0)
    assert orders.read(NAME, paths) is None
    assert orders.names(paths) == []


def test_of_two_orders_about_a_run_the_later_counts(paths: Paths) -> None:
    orders.put(ORDER, paths)
    orders.put(other := replace(ORDER, because="the orders were archived"), paths)
    assert [orders.read(name, paths) for name in orders.names(paths)] == [other]


def test_what_others_keep_beside_the_orders_is_left_alone(paths: Paths) -> None:
    for name in ("x.service.alert", "configuration.refused", ".half.order.tmp"):
        (paths.requests / name).write_bytes(b"")
    assert orders.names(paths) == []
    assert orders.names(Paths(state=paths.state / "none")) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not an order"),
        (b"{", "not an order"),
        (b"[" * 100_000, "not an order"),
        (b"\xff", "not an order"),
        (b"{}", "not an order"),
        (b'{"order":"accept","job":"backup"}', "not an order"),
        (msgspec.json.encode({**msgspec.to_builtins(ORDER), "more": 1}), "not an order"),
        (msgspec.json.encode(replace(ORDER, run=RunId("../x"))), "it names no run"),
        (msgspec.json.encode(replace(ORDER, job=JobName("a/b"))), "it names no run"),
        (msgspec.json.encode(replace(ORDER, because=" ")), "expected the reason"),
        (msgspec.json.encode(replace(ORDER, because="a\nb")), "expected the reason"),
        (msgspec.json.encode(replace(ORDER, because="x" * 1001)), "at most 1000 characters"),
        (msgspec.json.encode(replace(ORDER, by="")), "whose"),
        (msgspec.json.encode(replace(ORDER, by="a\x1b[31m")), "whose"),
        (b" " * (5 << 20), "larger than 4M"),
    ],
)
def test_what_is_no_order_is_refused_and_out_of_the_way(
    paths: Paths, content: bytes, sentence: str
) -> None:
    (paths.requests / NAME).write_bytes(content)
    with pytest.raises(OrderError, match=sentence):
        orders.read(NAME, paths)
    orders.refuse(NAME, paths)
    assert orders.names(paths) == []
    assert (paths.requests / f"{NAME}.refused").read_bytes() == content


def test_only_a_file_can_be_an_order(paths: Paths) -> None:
    os.mkfifo(paths.requests / "fifo.order")
    (paths.requests / "directory.order").mkdir()
    (paths.requests / "link.order").symlink_to("/dev/zero")
    for name in ("fifo.order", "directory.order", "link.order"):
        with pytest.raises(OrderError):
            orders.read(name, paths)
        orders.refuse(name, paths)
    assert orders.names(paths) == []


def test_a_name_as_long_as_names_can_be_gives_way_too(paths: Paths) -> None:
    name = "ä" * 124 + ".order"
    (paths.requests / name).write_bytes(b"")
    orders.refuse(name, paths)
    assert orders.names(paths) == []


@given(st.binary(max_size=200))
def test_no_content_is_more_than_refused(content: bytes) -> None:
    try:
        order = msgspec.json.decode(content, type=Accept)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    assert isinstance(orders.fault(order), str)
