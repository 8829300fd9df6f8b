"""The report in a real browser; skipped where Chromium or selenium is missing."""

from __future__ import annotations

import base64
import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from recbole_rlmrec.report.build import write_report  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not installed")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1280,900"),
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, report):
    """The report, loaded anew at the width of a desk."""
    resize(driver, 1280)
    driver.get("about:blank")
    driver.get(report.as_uri())
    WebDriverWait(driver, 60).until(lambda d: d.execute_script("return document.querySelector('#entry h3') !== null"))
    return driver


def resize(driver, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def text(driver, selector: str) -> str:
    return driver.execute_script("return document.querySelector(arguments[0]).innerText.trim()", selector)


def matches(driver) -> list[str]:
    return driver.execute_script("return [...document.querySelectorAll('#matches button')].map(b => b.innerText.trim())")


def choose(driver, side: str) -> None:
    driver.execute_script("arguments[0].click()", driver.find_element(By.CSS_SELECTOR, f"input[value={side}]"))


def test_it_loads_without_errors_and_without_network(page):
    assert page.get_log("browser") == []
    requests = [entry["message"] for entry in page.get_log("performance") if "Network.requestWillBeSent" in entry["message"]]
    assert not [message for message in requests if '"url":"http' in message]
    assert page.execute_script("return window.broken") is None
    drawn = page.execute_script("return [...document.querySelectorAll('.plot')].map(p => p.querySelector('svg') !== null)")
    assert len(drawn) > 8 and all(drawn)


def test_markup_in_data_is_shown_as_text(page):
    for target in ("user/u1", "item/i1"):
        page.execute_script(f"location.hash = '#{target}'")
        WebDriverWait(page, 10).until(lambda d, t=target: t.partition("/")[2] in text(d, "#entry .quiet"))
        assert "<img src=x onerror='window.broken = 2'>" in text(page, "#entry .text")
    assert text(page, "#entry h3") == "<img src=x onerror='window.broken = 3'"
    assert page.execute_script("return window.broken") is None
    assert page.execute_script("return document.querySelectorAll('#entry script, #entry img').length") == 0
    assert page.get_log("browser") == []


def test_search_finds_by_id_title_and_profile(page):
    query = page.find_element(By.ID, "query")
    query.send_keys("u12")
    assert matches(page)[0].startswith("user u12")
    query.clear()
    query.send_keys("space travel")
    assert 0 < len(matches(page)) < 16 and "of 16 users" in text(page, "#found")
    query.clear()
    query.send_keys("nobody has this")
    assert matches(page) == [] and text(page, "#found") == "0 of 16 users"
    query.clear()
    choose(page, "item")
    query.send_keys("film 7")
    assert matches(page)[0].startswith("Film 7")


def test_search_by_keyboard_alone(page):
    query = page.find_element(By.ID, "query")
    query.send_keys("user u1", Keys.ARROW_DOWN)
    WebDriverWait(page, 10).until(lambda d: d.switch_to.active_element.text.startswith("user u1"))
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    second = page.switch_to.active_element.text.split("\n")[0]
    page.switch_to.active_element.send_keys(Keys.ENTER)
    WebDriverWait(page, 10).until(lambda d: text(d, "#entry h3") == second)
    WebDriverWait(page, 10).until(lambda d: d.execute_script("return document.activeElement.id") == "entry")
    for heading in ("Quoted history", "Top 10 with and without alignment", "Nearest neighbours, by cosine"):
        assert heading in text(page, "#entry")


def test_profiles_sort(page):
    order = Select(page.find_element(By.ID, "order"))
    names = matches(page)
    order.select_by_value("most")
    counts = [int(line.split("\n")[-1].split()[0]) for line in matches(page)]
    assert counts == sorted(counts, reverse=True) and sorted(names) == sorted(line.split("\n")[0] for line in matches(page))
    order.select_by_value("gain-con")
    gains = [float(line.split("\n")[-1]) for line in matches(page) if "\n" in line]
    assert gains == sorted(gains, reverse=True)


def test_tables_sort_up_and_down(page):
    table = page.find_element(By.CSS_SELECTOR, "#results table")
    button = table.find_elements(By.CSS_SELECTOR, "th .sort")[3]
    cells = "return [...arguments[0].tBodies[0].rows].map(row => parseFloat(row.cells[3].textContent))"
    button.send_keys(Keys.ENTER)
    up = page.execute_script(cells, table)
    assert up == sorted(up) and len(up) == 3
    assert table.find_elements(By.CSS_SELECTOR, "th")[3].get_attribute("aria-sort") == "ascending"
    button.send_keys(Keys.ENTER)
    assert page.execute_script(cells, table) == up[::-1]


def test_a_selector_redraws_its_plots(page):
    select = Select(page.find_element(By.CSS_SELECTOR, "#results select"))
    select.select_by_visible_text("ndcg@5")
    assert "ndcg@5 at test" in text(page, "#results .plot")


def test_a_link_to_a_neighbour_and_back(page):
    before = text(page, "#entry h3")
    link = page.find_element(By.CSS_SELECTOR, "#entry .columns a")
    target = link.text
    page.execute_script("arguments[0].click()", link)
    WebDriverWait(page, 10).until(lambda d: text(d, "#entry h3") == target)
    link = page.find_element(By.CSS_SELECTOR, "#entry .columns a")
    after = link.text
    page.execute_script("arguments[0].click()", link)
    WebDriverWait(page, 10).until(lambda d: text(d, "#entry h3") == after)
    page.back()
    WebDriverWait(page, 10).until(lambda d: text(d, "#entry h3") == target)
    assert target != before


def test_a_link_to_what_is_not_in_the_report_says_why(driver, results, tmp_path):
    write_report([results], tmp_path / "few.html", projection="pca", limit=4)
    resize(driver, 1280)
    driver.get((tmp_path / "few.html").as_uri())
    WebDriverWait(driver, 60).until(lambda d: d.execute_script("return document.querySelector('#entry a.away') !== null"))
    link = driver.find_element(By.CSS_SELECTOR, "#entry a.away")
    named = link.text
    driver.execute_script("arguments[0].click()", link)
    WebDriverWait(driver, 10).until(lambda d: "is not in this report, which holds 4 of" in text(d, "#entry"))
    assert text(driver, "#entry h3") == named
    assert "recbole-rlmrec show --dataset nasty-split --tag made" in text(driver, "#entry")
    driver.execute_script("location.hash = '#user/nobody'")
    WebDriverWait(driver, 10).until(lambda d: "user nobody" in text(d, "#entry"))


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_phone(page, width):
    resize(page, width)
    page.refresh()
    WebDriverWait(page, 60).until(lambda d: d.execute_script("return document.querySelector('#entry h3') !== null"))
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_links_and_buttons_are_large_enough_for_a_finger(page):
    resize(page, 390)
    heights = """return [...document.querySelectorAll('nav a, summary, #matches button')]
        .map(e => e.getBoundingClientRect().height).filter(Boolean)"""
    assert min(page.execute_script(heights)) >= 32


def test_everything_can_be_reached_and_has_a_name(page):
    nameless = """return [...document.querySelectorAll('button, a[href], select, input, summary')]
        .filter(e => !(e.textContent.trim() || (e.labels && e.labels.length))).map(e => e.outerHTML)"""
    assert page.execute_script(nameless) == []
    assert page.execute_script("return [...document.querySelectorAll('[tabindex]')].every(e => e.tabIndex <= 0)")
    ids = page.execute_script(
        "return [...document.querySelectorAll('body [id]')].filter(e => !e.closest('svg')).map(e => e.id)"
    )
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("width", [320, 1280])
def test_dates_do_not_wrap_and_stay_inside(page, width):
    resize(page, width)
    box = """const element = document.querySelector('time'), inside = element.closest('dl').getBoundingClientRect();
        const lines = element.getClientRects(); return [lines.length, lines[0].right <= inside.right + 0.5]"""
    assert page.execute_script(box) == [1, True]


def lightness(driver, selector: str, name: str) -> float:
    """Mean of the colour of an element's property, between 0 and 255."""
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]].match(/[\\d.]+/g).slice(0, 3)"
    return sum(map(float, driver.execute_script(script, selector, name))) / 3


TEXTS = [
    *(("body", "color"), (".plot .gtitle", "fill"), (".plot .xtick text", "fill"), (".plot .legendtext", "fill")),
    ("#results .barlayer .errorbar path", "stroke"),
]


def test_dark_where_the_reader_s_system_is_dark_but_not_on_paper(page):
    light = {place: lightness(page, *place) for place in TEXTS}
    assert max(light.values()) < 80 and lightness(page, "body", "backgroundColor") == 255
    try:
        emulated = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        assert min(lightness(page, *place) for place in TEXTS) > 200 and lightness(page, "body", "backgroundColor") < 40
        assert lightness(page, "#query", "backgroundColor") < 40 and lightness(page, "#query", "color") > 200
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {**emulated, "media": "print"})
        assert {place: lightness(page, *place) for place in TEXTS} == light
        assert lightness(page, "body", "backgroundColor") == 255
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_it_prints(page):
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not page.find_element(By.ID, "search-form").is_displayed()
        assert page.find_element(By.ID, "entry").is_displayed()
        inside = """return [...document.querySelectorAll('.plot')].every(
            p => p.getBoundingClientRect().bottom >= p.querySelector('svg').getBoundingClientRect().bottom - 1)"""
        assert page.execute_script(inside), "a plot covers the caption below it"
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
