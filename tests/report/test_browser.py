"""The page in a real browser, where there is one: Chromium and its driver, headless, without a network."""

import shutil

import pytest

from threedzal.report import write_report

SWITCHES = (
    "--headless=new --no-sandbox --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage "
    "--use-angle=swiftshader --enable-unsafe-swiftshader"  # WebGL without a graphics card
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium here: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (*SWITCHES.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def address(report, panels, tmp_path_factory) -> str:
    data = report(panels=panels(size=(48, 64), parts=True))
    return write_report(tmp_path_factory.mktemp("page"), data).as_uri()


@pytest.fixture
def page(browser, address):
    """The page on a desk, in a light theme, just opened."""
    resize(browser, 1280, 900)
    prefer(browser, "light")
    browser.get(address)
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def resize(browser, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def prefer(browser, scheme: str) -> None:
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def find(browser, selector: str):
    return browser.find_element("css selector", selector)


def background(browser) -> str:
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_every_picture_is_there(page):
    sizes = page.execute_script("return [...document.images].map((one) => [one.complete, one.naturalWidth])")
    assert len(sizes) == 5 * 5 + 3
    assert all(size == [True, 64] for size in sizes)


def test_a_click_on_a_head_sorts_the_rows_of_each_group(page):
    def column() -> list[list[float]]:
        return page.execute_script(
            "const figure = (row) => Number(row.querySelector('data').value);"
            "return [...document.querySelector('table').tBodies].map((group) =>"
            " [...group.rows].filter((row) => row.cells.length > 1).map(figure))"
        )

    before = column()
    head = find(page, "table thead th:nth-child(2)")
    head.click()
    assert column() == [sorted(group, reverse=True) for group in before]
    assert head.get_attribute("aria-sort") == "descending"
    head.click()
    assert column() == [sorted(group) for group in before]
    assert column() != before


def test_the_slider_moves_the_border_between_picture_and_map(page):
    card = find(page, ".scan")
    cover, slider = card.find_element("css selector", ".cover"), card.find_element("css selector", "input")
    assert "50%" in cover.value_of_css_property("clip-path")
    slider.send_keys("\ue010")  # End: all picture
    assert "100%" in cover.value_of_css_property("clip-path")
    slider.send_keys("\ue011")  # Home: all map
    assert "0%)" in cover.value_of_css_property("clip-path")


def test_buttons_choose_the_map_and_hide_the_defect(page):
    card = find(page, ".scan")
    card.find_element("css selector", "button[data-name=distance]").click()
    maps = card.find_elements("css selector", "img.heat")
    assert [one.get_attribute("data-name") for one in maps if one.is_displayed()] == ["distance"]
    rim, truth = (card.find_element("css selector", one) for one in (".rim", "button.truth"))
    assert rim.is_displayed()
    truth.click()
    assert not rim.is_displayed()


def test_a_filter_leaves_the_scans_of_one_verdict(page):
    find(page, ".filters button[data-word=missed]").click()
    shown = [card for card in page.find_elements("css selector", ".scan") if card.is_displayed()]
    assert [card.get_attribute("data-word") for card in shown] == ["missed"]


def test_the_surface_is_drawn_and_turns_with_the_pointer(page):
    from selenium.webdriver import ActionChains

    card = find(page, ".scan")
    card.find_element("css selector", "button.solid").click()
    canvas = card.find_element("css selector", "canvas")

    def pixels() -> list[int]:
        return page.execute_async_script(
            "const [canvas, done] = arguments; requestAnimationFrame(() => requestAnimationFrame(() => {"
            " const gl = canvas.getContext('webgl2'); const out = new Uint8Array(4 * canvas.width * canvas.height);"
            " gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, out);"
            " done([...out.filter((_, i) => i % 4 === 0)]); }))",
            canvas,
        )

    first = pixels()
    assert sum(value > 40 for value in first) > 0.1 * len(first)  # the background is darker
    ActionChains(page).click_and_hold(canvas).move_by_offset(60, 20).release().perform()
    assert pixels() != first
    card.find_element("css selector", "button.solid").click()
    assert not canvas.is_displayed()


def test_the_theme_follows_the_system_until_the_button_says_otherwise(page):
    light = background(page)
    prefer(page, "dark")
    dark = background(page)
    assert dark != light
    button = find(page, "#theme")
    button.click()
    assert (button.text.split()[-1], background(page)) == ("light", light)
    button.click()
    assert (button.text.split()[-1], background(page)) == ("dark", dark)


@pytest.mark.parametrize("width", [390, 320])
def test_nothing_is_wider_than_a_phone(page, width):
    resize(page, width, 800)
    assert page.execute_script("return document.documentElement.scrollWidth") == width
    for chart in page.find_elements("css selector", ".chart svg, .view"):
        assert 0.6 * width < chart.rect["width"] <= width
