"""Where the suites of one port each find their stores."""

import pytest
from backends import RedisPlace


@pytest.fixture(params=["memory", "redis", "cluster"])
def redis_place(request: pytest.FixtureRequest) -> RedisPlace | None:
    """Of the store under test; None: it is the twin in memory."""
    if request.param == "memory":
        return None
    prefix = request.getfixturevalue("prefix")
    is_cluster = request.param == "cluster"
    url = request.getfixturevalue("redis_cluster_url" if is_cluster else "redis_url")
    return RedisPlace(url, prefix, is_cluster)
