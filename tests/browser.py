"""A real Chromium for tests and pictures, driven by selenium."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

from tests.interop.chromium import Chromium
from tests.processes import wait_until

_LOAD_SECONDS_MAX = 20
_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--disable-background-networking", "--no-first-run"),
    # A browser in a test asks nobody else for anything.
    *("--disable-component-update", "--disable-sync", "--proxy-server=direct://"),
)


class Browser:
    """One window.

    Attributes:
        driver: Selenium's.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def show(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window and the colours that its user prefers."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, url: str) -> None:
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:
        """The value that `script` returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """The text of all elements that `selector` selects, shown or not."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return "\n".join(self.run(script, selector))

    def wait_for(self, selector: str, text: str, seconds_max: float = 20.0) -> None:
        """Until `text` is in what `selector` selects."""
        wait_until(lambda: text in self.text(selector), f"{text!r} in {selector}", seconds_max)

    def click(self, selector: str) -> None:
        """As a mouse does, wherever the element lies, once it stands still."""
        where = "{behavior: 'instant', block: 'center'}"

        def is_done() -> bool:
            self.run(f"document.querySelector(arguments[0]).scrollIntoView({where})", selector)
            try:
                self.driver.find_element("css selector", selector).click()
            except ElementClickInterceptedException:  # the page has grown in this moment
                return False
            return True

        wait_until(is_done, f"{selector} can be clicked", 5.0)

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def requested(self) -> Sequence[str]:
        """URLs of all requests since the last time."""
        entries = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [
            entry["params"]["request"]["url"]
            for entry in entries
            if entry["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Errors of scripts, and what the browser has refused, since the last time."""
        return [entry["message"] for entry in self._log("browser")]

    def _log(self, name: str) -> list[dict[str, Any]]:
        return self.driver.get_log(name)  # type: ignore[no-untyped-call]

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        asked = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            asked["clip"] = {**size, "x": 0, "y": 0, "scale": 1}
        found = self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def opened_browser(chromium: Chromium) -> Iterator[Browser]:
    """A window without any memory of others."""
    options = Options()
    options.binary_location = str(chromium.browser)
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(str(chromium.driver), env=chromium.environment)
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(_LOAD_SECONDS_MAX)
    driver.set_script_timeout(_LOAD_SECONDS_MAX)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
