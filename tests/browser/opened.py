"""A report opened in the browser, with what it shows, and what went wrong in it or was asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

PIXELS = """() => {
  const canvas = document.querySelector("#viewer canvas");
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [100, 100];
  const context = copy.getContext("2d", { willReadFrequently: true });
  page.viewer.view.render();
  context.drawImage(canvas, 0, 0, 100, 100);
  const { data } = context.getImageData(0, 0, 100, 100);
  let drawn = 0, sum = 0;
  for (let at = 0; at < data.length; at += 4) drawn += Math.min(data[at], data[at + 1], data[at + 2]) < 250;
  for (const value of data) sum = (31 * sum + value) % 4294967296;
  return [drawn, sum];
}"""


@dataclass
class Opened:
    """A page with everything that went wrong in it and everything that it asked for.

    It is drawn with a quarter of the pixels each way, as software draws it.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def picture(self) -> int:
        """A checksum of what the viewer shows, in 100 x 100 pixels."""
        return self.page.evaluate(PIXELS)[1]

    def drawn(self) -> int:
        """How many of them are not background."""
        return self.page.evaluate(PIXELS)[0]

    def shown(self) -> dict[str, Any]:
        return self.page.evaluate("page.viewer.shown")

    def models(self) -> int:
        """Models that the viewer draws."""
        return self.page.evaluate("page.viewer.models.filter((model) => model && !model.hidden).length")

    def wait(self, condition: str) -> None:
        """Until a condition holds in the page; `wait_for_function` needs eval, which the page's policy forbids."""
        for _ in range(200):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never came true: {condition}")

    def slide(self, control: str, value: float) -> None:
        self.page.evaluate(
            "([id, value]) => { const input = document.getElementById(id); input.value = value;"
            " input.dispatchEvent(new Event('input', { bubbles: true })); }",
            [control, value],
        )


def opened(browser: Browser, path: Path) -> Opened:
    """The page of a file on disk, once it is ready."""
    found = Opened(browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=0.25))
    page = found.page
    page.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("dialog", lambda dialog: found.errors.append(dialog.message))
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    assert page.get_attribute("body", "data-ready") == "yes", page.text_content("#trouble")
    return found
