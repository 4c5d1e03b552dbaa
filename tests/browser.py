"""A browser without a window, and axe in it: what readers of a page would meet."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",  # tests may run as root, in a container
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
)
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SEVERE = ("serious", "critical")


def chromium():
    """The browser's path; without one tests fail in CI and are left out elsewhere."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if os.environ.get("CI") == "true":
        pytest.fail("Chromium is missing: apt-get install chromium", pytrace=False)
    return pytest.skip("no Chromium on this machine: apt-get install chromium")


@contextlib.contextmanager
def started():
    """A browser with a profile of its own."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def axe():
    """The text of axe-core, as the package brings it."""
    import axe_playwright_python

    folder = Path(axe_playwright_python.__file__).parent
    return (folder / "axe.min.js").read_text(encoding="utf-8")


def opened(browser, path, *, size="desktop", scheme="light"):
    """A page from a file, with the network off."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    page.goto(path.absolute().as_uri())
    return page


def severe(page):
    """What axe finds serious or critical: rule, and the elements."""
    page.add_script_tag(content=axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return {
        item["id"]: [node["target"] for node in item["nodes"]][:5]
        for item in found["violations"]
        if item["impact"] in SEVERE
    }
