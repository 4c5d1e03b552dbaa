"""What tests of the page share."""

import pytest

from tests.explore import node as node_lib


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """Calls functions of the page's modules."""
    node = node_lib.started(tmp_path_factory.mktemp("node"))
    yield node
    node.close()
