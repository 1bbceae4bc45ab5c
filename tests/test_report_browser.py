"""The pages of ``ganrun report`` in a real browser: they work by mouse and keyboard, fit a phone, and ask nobody for anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import compose_config
from test_report import told

from ganrun.cli.report import command

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no chromium with its chromedriver on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    held = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    yield held
    held.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    above = tmp_path_factory.mktemp("browser") / "sweep"
    for place, (loss, seed) in enumerate([("hinge", 10), ("hinge", 9), ("lsgan", 9)]):
        run = told(above / f"{'a-rather-long-name-of-a-run-' * 3}{place}", (4, {}), losses=3, status="done")
        (run / "config.yaml").write_text(json.dumps(compose_config(f"loss={loss}", f"seed={seed}")))
    first = sorted(above.iterdir())[0]
    *_, several = command.report([str(above)])
    *_, one = command.report([str(first)], files_only=True)
    return {"one": one, "several": several}


def opened(browser: Any, path: Path, width: int = 1280, *, dark: bool = False) -> Any:
    """The page at this width, with what the browser had to say before forgotten."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.absolute().as_uri())
    return browser


def ask(browser: Any, script: str) -> Any:
    return browser.execute_script(f"return {script}")


@pytest.mark.parametrize("name", ["one", "several"])
def test_a_page_raises_no_error_and_asks_for_nothing(browser: Any, pages: dict[str, Path], name: str) -> None:
    opened(browser, pages[name])
    assert ask(browser, "document.documentElement.classList.contains('plain')") is False  # its script ran
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {pages[name].absolute().as_uri()}
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert ask(browser, broken) == 0
    assert ask(browser, "document.images.length") > 0


def test_its_policy_lets_nothing_in(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["one"])
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.appendChild(s);"
        "const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/x.png'; document.body.appendChild(i);"
    )
    assert ask(browser, "window.hacked") is None
    assert sum("Content Security Policy" in entry["message"] for entry in browser.get_log("browser")) == 2


@pytest.mark.parametrize("name", ["one", "several"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_fits_its_window_and_is_readable(browser: Any, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    opened(browser, pages[name], width, dark=dark)
    assert ask(browser, "document.documentElement.scrollWidth") <= width
    ground, text, axes = (
        [int(word) for word in ask(browser, script).strip("rgb()").split(",")[:3]]
        for script in (
            "getComputedStyle(document.body).backgroundColor",
            "getComputedStyle(document.body).color",
            "getComputedStyle(document.querySelector('svg text')).fill",
        )
    )
    assert abs(sum(ground) - sum(text)) > 500
    assert text == axes  # what matplotlib wrote has the page's colour
    assert (sum(ground) < 150) == dark


def test_the_slider_moves_by_arrow_keys_and_the_button_plays(browser: Any, pages: dict[str, Path]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    opened(browser, pages["one"])
    shown = "[...document.querySelectorAll('#over-training .frames > div')].filter(d => d.offsetHeight).map(d => d.dataset.name)"
    assert ask(browser, shown) == ["step 200"]
    slider = browser.find_element(By.ID, "over-training-slider")
    assert ask(browser, "document.querySelector('label[for=over-training-slider]').textContent") == "Step"
    slider.send_keys(Keys.ARROW_LEFT)
    assert ask(browser, shown) == ["step 0"]
    assert slider.get_attribute("aria-valuetext") == "step 0"
    assert browser.find_element(By.CSS_SELECTOR, "#over-training output").text == "step 0"
    button = browser.find_element(By.CSS_SELECTOR, "#over-training button")
    button.send_keys(Keys.ENTER)
    WebDriverWait(browser, 10, 0.05).until(lambda _: ask(browser, shown) == ["step 200"] and button.text == "Play")
    assert browser.get_log("browser") == []


def test_a_table_is_sorted_by_mouse_and_keyboard_by_value(browser: Any, pages: dict[str, Path]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages["several"])
    heads = [head.text for head in browser.find_elements(By.CSS_SELECTOR, "table.sortable th")]
    column = heads.index("seed") + 1
    values = f"[...document.querySelectorAll('table.sortable tbody tr td:nth-child({column})')].map(c => c.textContent)"
    sorting = "[...document.querySelectorAll('table.sortable th')].map(h => h.ariaSort)"
    assert set(ask(browser, sorting)) == {"none"}
    button = browser.find_element(By.CSS_SELECTOR, f"table.sortable th:nth-child({column}) button")
    button.click()
    assert ask(browser, values) == ["9", "9", "10"]  # not by their letters
    assert ask(browser, sorting)[column - 1] == "ascending"
    button.send_keys(Keys.ENTER)
    assert ask(browser, values) == ["10", "9", "9"]
    assert ask(browser, sorting)[column - 1] == "descending"
    other = browser.find_element(By.CSS_SELECTOR, "table.sortable th:nth-child(1) button")
    other.send_keys(Keys.SPACE)
    assert ask(browser, sorting)[:1] == ["ascending"]
    assert ask(browser, sorting).count("none") == len(heads) - 1
