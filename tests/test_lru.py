"""The bounded cache: never over its limit, the least recently used first, empty in another process."""

import pickle
from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.lru import BoundedLRU

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.binary(max_size=9)), max_size=40)


@settings(deadline=None)
@given(st.integers(0, 20), STEPS)
def test_it_holds_what_a_plain_list_of_uses_says(limit: int, steps: list[tuple[bool, int, bytes]]) -> None:
    cache: BoundedLRU[int, bytes] = BoundedLRU(limit, len)
    plain: OrderedDict[int, bytes] = OrderedDict()
    for putting, key, value in steps:
        if putting:
            cache.put(key, value)
            plain.pop(key, None)
            if len(value) <= limit:
                plain[key] = value
            while sum(map(len, plain.values())) > limit:
                plain.popitem(last=False)
        else:
            if key in plain:
                plain.move_to_end(key)
            assert cache.get(key) == plain.get(key)
        assert cache.num_bytes == sum(map(len, plain.values())) <= limit
        assert len(cache) == len(plain) and all(key in cache for key in plain)


def test_a_copy_in_another_process_begins_empty() -> None:
    cache: BoundedLRU[str, bytes] = BoundedLRU(9, len)
    cache.put("a", b"123")
    copy = pickle.loads(pickle.dumps(cache))
    assert (len(copy), copy.num_bytes, copy.max_bytes) == (0, 0, 9)
    copy.put("b", b"1")
    assert copy.get("b") == b"1" and cache.get("a") == b"123"
    cache.clear()
    assert (len(cache), cache.num_bytes) == (0, 0)
