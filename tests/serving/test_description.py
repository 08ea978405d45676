"""A run of schemathesis over the server's own description: no request, however odd, is an error of the server."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from medmvl.serving.api import create_app
from medmvl.serving.settings import Limits, ServeSettings
from tests.factories.engine import tiny_engine
from tests.factories.server import running

KEY = "a-key-of-the-tests"
app = create_app(
    tiny_engine(),
    ServeSettings(keys=(KEY,), page=True, limits=Limits(new_tokens=4, seconds=20.0, longest_wait_seconds=0)),
)
schema = schemathesis.openapi.from_dict(app.openapi())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(app) as address:
        yield address


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_request_is_an_error_of_the_server(case: schemathesis.Case, address: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Cookie": f"medmvl_visitor={'v' * 43}"}
    case.call_and_validate(base_url=address, checks=[not_a_server_error], headers=headers, timeout=60)
