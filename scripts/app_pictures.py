"""Pictures of the page for the README, with synthetic data: start `monai-brain app`, then run this with its address.

python scripts/app_pictures.py http://127.0.0.1:7860
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
VIEWS = {"app_desktop": {"width": 1280, "height": 860}, "app_phone": {"width": 390, "height": 844}}
EXAMPLE = "Meningioma"


def main(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, size in VIEWS.items():
            page = browser.new_page(viewport=size)
            page.goto(address)
            page.locator("[data-example]", has_text=EXAMPLE).click()
            page.wait_for_selector(".mb-layer")
            page.wait_for_timeout(1000)
            page.evaluate("document.activeElement.blur()")
            page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
