"""The cache of visual tokens is bounded and tells pixels apart."""

import torch

from medmvl.engine.token_cache import TokenCache, digest


def test_digest_tells_shape_type_and_values() -> None:
    pixels = torch.zeros(2, 6)
    others = [pixels.view(3, 4), pixels.to(torch.float64), pixels + 1e-7, pixels.bfloat16()]
    assert len({digest(p) for p in [pixels, *others]}) == 5
    assert digest(pixels.T) != digest(pixels)
    assert digest(pixels.clone()) == digest(pixels)


def test_least_recently_used_goes_first_within_the_bytes() -> None:
    cache = TokenCache(max_bytes=3 * 40)
    for key in "abc":
        cache.put(key, torch.ones(1, 10))
    assert cache.get("a") is not None
    cache.put("d", torch.ones(1, 10))
    assert cache.get("b") is None and cache.get("a") is not None and len(cache) == 3
    cache.put("huge", torch.ones(100, 10))
    assert cache.get("huge") is None and cache.num_bytes == 120
    cache.clear()
    assert len(cache) == 0 and cache.num_bytes == 0
