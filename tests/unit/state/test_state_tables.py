"""One table: shards, copy on write, order, fingerprint."""

from __future__ import annotations

import gc

import pytest

from heroctl_core import limits
from heroctl_core.codec import shard_of
from heroctl_core.state.tables import Table, digest_sum, row_digest


def filled(count: int) -> Table:
    table = Table("jobs")
    for i in range(count):
        table.put(f"job-{i:04}", b"%d" % i)
    return table


def test_items_are_sorted_by_shard_and_key() -> None:
    """The order of archives: the shard's number, then the key."""
    keys = [key for key, _ in filled(500).view().items()]
    assert keys == sorted(keys, key=lambda key: (shard_of(key), key))
    assert len({shard_of(key) for key in keys}) > limits.SHARDS // 2


def test_by_name_is_sorted_by_key_over_all_shards() -> None:
    """The order of lists, from behind a key and with a prefix."""
    view = filled(500).view()
    keys = [f"job-{i:04}" for i in range(500)]
    assert [key for key, _ in view.by_name()] == keys
    assert [key for key, _ in view.by_name(after="job-0497")] == ["job-0498", "job-0499"]
    assert [key for key, _ in view.by_name("job-000", "job-0007")] == ["job-0008", "job-0009"]
    assert list(view.by_name("x")) == []


def test_a_shard_is_copied_only_while_a_view_lives() -> None:
    """A write copies the shard of a living view once, and none when the view is gone."""
    table = filled(10)
    number = shard_of("job-0001")
    first = table.shards[number]
    view = table.view()
    table.put("job-0001", b"new")
    copied = table.shards[number]
    assert copied is not first
    table.put("job-0001", b"newer")
    assert table.shards[number] is copied
    assert view.get("job-0001") == b"1"
    del view
    gc.collect()
    gone = table.view()
    del gone
    gc.collect()
    table.put("job-0001", b"newest")
    assert table.shards[number] is copied


def test_an_older_view_stays_whole_when_a_newer_one_goes() -> None:
    """Each view keeps what it saw, whatever happens to the others."""
    table = filled(1)
    old = table.view()
    table.put("job-0000", b"a")
    newer = table.view()
    table.put("job-0000", b"b")
    assert (old.get("job-0000"), newer.get("job-0000")) == (b"0", b"a")
    del newer
    gc.collect()
    table.delete("job-0000")
    assert old.get("job-0000") == b"0"
    assert (table.count, old.count) == (0, 1)


def test_the_fingerprint_does_not_depend_on_the_way() -> None:
    """Rows that came and went leave nothing behind; the empty table has 0."""
    one, two = Table("jobs"), Table("jobs")
    one.put("a", b"1")
    one.put("b", b"2")
    two.put("b", b"x")
    two.put("c", b"3")
    two.put("a", b"1")
    two.put("b", b"2")
    two.delete("c")
    assert one.fingerprint == two.fingerprint != 0
    two.delete("a")
    two.delete("b")
    assert two.fingerprint == 0


def test_fill_gives_the_table_that_puts_give() -> None:
    """Rows, count and fingerprint are the same, also when the table was filled before and holds
    more than one batch."""
    rows = [(f"job-{n}", b"row" * (n % 7)) for n in range(1200)]
    one, two = Table("jobs"), Table("jobs")
    for key, row in rows:
        one.put(key, row)
    two.fill(rows[:700])
    two.fill(iter(rows[700:]))
    assert two.count == one.count == 1200
    assert two.fingerprint == one.fingerprint
    assert list(two.view().items()) == list(one.view().items())


def test_fill_leaves_an_older_view_as_it_is() -> None:
    """A view shares shards with the table until they are written."""
    table = filled(3)
    view = table.view()
    before = list(view.items())
    table.fill([("another", b"row")])
    assert list(view.items()) == before
    assert table.get("another") == b"row"


def test_fill_refuses_a_key_that_is_there() -> None:
    """A key that comes twice would be counted twice."""
    table = Table("jobs")
    with pytest.raises(ValueError, match="jobs web comes twice"):
        table.fill([("web", b"1"), ("api", b"2"), ("web", b"3")])


def test_digest_sum_is_the_sum_of_the_row_digests() -> None:
    """The fast way over many rows gives what the slow one gives, whatever the keys are."""
    rows = [("", b""), ("web", b"row"), ("größe", b"x" * 1000), ("k" * 300, b"\0")]
    assert digest_sum("jobs", rows) == sum(row_digest("jobs", key, row) for key, row in rows)
    assert digest_sum("jobs", []) == 0


def test_row_digest_tells_kind_key_and_row_apart() -> None:
    """Moving a byte from one part to the next changes the digest; the value is fixed for ever."""
    digests = {
        row_digest("jobs", "ab", b"c"),
        row_digest("jobs", "a", b"bc"),
        row_digest("job", "sab", b"c"),
        row_digest("jobs", "abc", b""),
    }
    assert len(digests) == 4
    fixed = "2723274f9b9686658fbb4b612d05ad3706bc712d4c61e6969ca3bf513dadc1bf"
    assert f"{row_digest('jobs', 'web', b'row'):064x}" == fixed
