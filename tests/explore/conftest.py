"""What tests of the page share."""

import threading

import pytest
from small_records import write_records

from mmgr_jax.explore import content, document, served
from mmgr_jax.explore.server import CityServer
from tests.explore import browser as browser_lib
from tests.explore import node as node_lib
from tests.explore import small_explored


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """Calls functions of the page's modules."""
    node = node_lib.started(tmp_path_factory.mktemp("node"))
    yield node
    node.close()


@pytest.fixture(scope="session")
def city(tmp_path_factory):
    """A city whose names are markup, formulas and marks that turn writing around."""
    folder = tmp_path_factory.mktemp("records")
    write_records(
        folder, labels=small_explored.LABELS, categories=small_explored.CATEGORIES
    )
    return small_explored.explored(folder)


@pytest.fixture(scope="session")
def path(city, tmp_path_factory):
    """Its page."""
    made = content.of(city)
    hostile = f"small {small_explored.HOSTILE}"
    made.about["name"] = hostile  # a manifest would refuse it
    path = tmp_path_factory.mktemp("page") / "explore.html"
    path.write_text("".join(document.write(made)), encoding="utf-8", newline="\n")
    return path


@pytest.fixture(scope="session")
def prepared(city, tmp_path_factory):
    """The same city as a server holds it."""
    return served.prepare(city, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def answering():
    """Starts servers of cities, which run until the tests end."""
    servers = []

    def started(prepared, **given):
        servers.append(CityServer(prepared, port=0, **given))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def server(prepared, answering):
    """A server of the city, for this machine alone."""
    return answering(prepared)


@pytest.fixture(scope="session")
def opened(browser, path):
    visit = browser_lib.Visit(browser, path)
    yield visit
    assert visit.faults == []
    visit.close()


@pytest.fixture
def visit(opened):
    """The page as it is at first: nothing is chosen."""
    opened.run(
        """async () => { await explored.similar.clear(); explored.select(-1);
        explored.map.whole(); for (const id of ["filter-category", "filter-task"]) {
        const field = document.getElementById(id); field.value = "";
        field.onchange(); } document.getElementById("filter-sight").checked = false;
        if (explored.label.state.history) explored.label.end();
        explored.showTab("tab-layers"); }"""
    )
    return opened
