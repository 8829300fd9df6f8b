"""What the files say of a pair."""

from __future__ import annotations

from recbole_rlmrec.data.history import History


def test_a_repeated_pair_is_told_apart_by_its_time(workdir):
    folder = workdir / "dataset" / "shop"
    folder.mkdir(parents=True)
    rows = ["u\ta\t5\t1700000001", "u\ta\t2\t1700000002", "u\tb\t3\t", "v\ta\t4\t1700000001"]
    (folder / "shop.inter").write_text("\n".join(["user_id:token\titem_id:token\trating:float\ttimestamp:float", *rows]) + "\n")
    history = History("shop", {})
    assert [history.details("u", "a", time) for time in (1700000001, 1700000002, 3)] == [{"rating": "5"}, {"rating": "2"}, {}]
    assert history.details("u", "a") == {} and history.details("v", "a") == {"rating": "4"}
    assert history.details("u", "b") == {"rating": "3"} and history.details("nobody", "a", 1) == {}
