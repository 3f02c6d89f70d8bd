"""What the tests of the page share: one browser, one pool, and a user for each test."""

import re

import environment
import pytest
from playwright.sync_api import expect, sync_playwright
from pool_and_page import Page, Pool

expect.set_options(timeout=15_000)  # two cores, and a pool that computes on one of them


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        # Inside a container Chromium has no sandbox of its own to build.
        found = playwright.chromium.launch(executable_path=environment.browser(),
                                           args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def shared_pool():
    found = Pool()
    yield found
    found.end()


@pytest.fixture
def user(request):
    """A user of this test's own, so that no test pays for another's quota."""
    return re.sub(r"\W+", "-", request.node.name).strip("-")


@pytest.fixture
def token(shared_pool, user):
    """Of that user in the shared pool, whose slot is free again afterwards."""
    found = shared_pool.token(user)
    yield found
    shared_pool.cancel_all(found)


@pytest.fixture
def visit(browser, shared_pool, own_pool):  # which goes after the pages
    """Opens pages; at the end of a test nothing may have gone wrong in any of them."""
    pages = []

    def open_page(token=None, pool=shared_pool, **options):
        page = Page(browser, pool.url, token, **options)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.end()


@pytest.fixture
def own_pool():
    """Starts pools that a test changes or kills."""
    pools = []

    def start(**values):
        pools.append(Pool(**values))
        return pools[-1]

    yield start
    for one in pools:
        one.end()
