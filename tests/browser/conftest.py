"""A real browser: the system's chromium, which may fetch nothing from elsewhere."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

DESKTOP = {"width": 1280, "height": 900}
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
OWN = ("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:", "ws://127.0.0.1:")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A desktop's page; at the end nothing was asked of another host, and no script failed."""
    context = browser.new_context(viewport=DESKTOP, accept_downloads=True, has_touch=True)
    opened = context.new_page()
    elsewhere: list[str] = []
    failures: list[str] = []
    opened.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(OWN) else None)
    opened.on("pageerror", lambda error: failures.append(str(error)))
    yield opened
    context.close()
    assert elsewhere == []
    assert failures == []
