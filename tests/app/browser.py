"""A headless Chromium, and what is done on a page with it."""

import shutil
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

PATIENCE = 120.0
"""Seconds until a page counts as hanging."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str | None:
    """Say what is not installed."""
    if not any(map(shutil.which, CHROMIUM)) or not shutil.which("chromedriver"):
        return "no Chromium with its driver: apt-get install chromium chromium-driver"
    absent = [name for name in ("gradio", "selenium") if find_spec(name) is None]
    return f"{' and '.join(absent)} missing: pip install 'memorysam[browser]'" if absent else None


@contextmanager
def tab(url: str, downloads: Path, width: int = 1400, height: int = 1200):
    """Open a page; downloads land in a folder."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = next(found for name in CHROMIUM if (found := shutil.which(name)))
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", f"window-size={width},{height}"):
        options.add_argument(f"--{word}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(url)
        yield Tab(driver, downloads)
    finally:
        driver.quit()


class Tab:
    def __init__(self, driver, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str):
        return self.until(lambda: self.all(selector))[0]

    def until(self, found):
        """Wait for something true."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if value := found():
                    return value
            except StaleElementReferenceException:
                pass
            time.sleep(0.1)
        raise AssertionError(f"nothing came of it; the page says: {self.text('body')[:2000]}")

    def text(self, selector: str) -> str:
        return " ".join(element.text for element in self.all(selector))

    def image(self, selector: str) -> bytes:
        """The bytes of a picture that is shown."""
        self.one(f"{selector} img")
        return self.until(lambda: self._bytes(f"{selector} img"))

    def _bytes(self, selector: str) -> bytes:
        import base64

        script = """
            const done = arguments[1];
            fetch(document.querySelector(arguments[0]).src).then(r => r.blob()).then(b => {
              const reader = new FileReader();
              reader.onload = () => done(reader.result.split(",")[1]);
              reader.readAsDataURL(b);
            }).catch(() => done(""));
        """
        return base64.b64decode(self.driver.execute_async_script(script, selector))

    def changed(self, selector: str, before: bytes) -> bytes:
        """The bytes of a picture as soon as they are others."""
        return self.until(lambda: (now := self.image(selector)) != before and now)

    def tick(self, name: str) -> None:
        """Switch a sensor."""
        next(label for label in self.all("#sensors label") if label.text.strip() == name).click()

    def click_at(self, selector: str, y: float, x: float) -> None:
        """Click a place of a picture, in shares of its height and width."""
        from selenium.webdriver import ActionChains

        picture = self.one(f"{selector} img")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
        size = picture.size
        right, down = round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"])
        ActionChains(self.driver).move_to_element_with_offset(picture, right, down).click().perform()

    def open(self, name: str) -> None:
        """Turn to a tab of the page."""
        self.until(lambda: [b for b in self.all("button[role=tab]") if b.text.strip() == name])[0].click()

    def upload(self, modality: str, path: Path) -> None:
        self.one(f"#file-{modality} input[type=file]").send_keys(str(path))
        self.until(lambda: path.stem[:6] in self.text(f"#file-{modality}"))

    def press(self, selector: str) -> None:
        button = self.one(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def download(self, number: int) -> Path:
        """Fetch the file of that number from the list; return where it is."""
        before = set(self.downloads.iterdir())
        self.until(lambda: len(self.all("#files a[download]")) > number)
        self.driver.execute_script("arguments[0].click()", self.all("#files a[download]")[number])
        whole = lambda: [p for p in set(self.downloads.iterdir()) - before if p.suffix not in (".crdownload", ".tmp")]  # noqa: E731
        return self.until(lambda: [p for p in whole() if not p.name.startswith(".")])[0]

    def picture(self) -> bytes:
        """What is seen, from the top."""
        self.driver.execute_script("window.scrollTo(0, 0)")
        return self.driver.get_screenshot_as_png()
