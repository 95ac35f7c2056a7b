"""The console in a real Chromium, against the real service: journeys, and every page looked at in four ways.

Whatever breaks the content security policy, asks another host or raises an error in a script fails the test it happens
in. Screenshots are kept in the folder that LOOKALIKE_TEST_SCREENSHOTS names.
"""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from api.client import Client
from tests.e2e.conftest import KEY, Installation
from tests.embedder.pictures import encoded, gradient, scene

pytestmark = pytest.mark.service

CHECKS = (Path(__file__).parent / "page_checks.js").read_text()
WAIT_MS = 60_000
CALM_S = 10.0

expect.set_options(timeout=WAIT_MS)

NAME = "Barack <b>Obama"
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 360, "height": 760}
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, portraits: dict[str, bytes]
) -> Iterator[tuple[Installation, Client]]:
    made = Installation(tmp_path_factory.mktemp("console-service"))
    try:
        with made.start() as client:
            client.create_collection("staff", keep_unknown_days=7)
            client.create_collection("empty")
            client.create_collection("shelf", kind="image")
            client.enrol("staff", NAME, portraits["obama.jpg"], portraits["obama3.jpg"])
            client.put_subject("staff", NAME, metadata={"room": "4", "<i>key</i>": '"onerror=alert(1)'})
            for seed in range(3):
                client.enrol("shelf", f"thing {seed}", encoded(scene(seed), "JPEG"))
            client.identify("staff", portraits["astronaut.png"])
            yield made, client
    finally:
        made.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, portraits: dict[str, bytes]) -> Iterator[Browser]:
    """Chromium with a webcam that shows a portrait."""
    chromium = os.environ.get("LOOKALIKE_TEST_CHROMIUM")
    if chromium is None:
        pytest.skip("left out: there is no Chromium (tests/services/chromium/run installs it)")
    film = tmp_path_factory.mktemp("webcam") / "portrait.mjpeg"
    film.write_bytes(as_jpeg(portraits["obama2.jpg"]) * 2)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=chromium, args=[*ARGS, f"--use-file-for-fake-video-capture={film}"]
        )
        yield made
        made.close()


def as_jpeg(picture: bytes) -> bytes:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((1280, 720))
    even = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
    return encoded(even, "JPEG", quality=92)


@dataclass
class Watched:
    """A page whose every fault is noted."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, key: str = KEY) -> Page:
        page = self.open("/console/sign-in")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(self.url + "/")
        return page

    def picture(self, name: str) -> None:
        folder = os.environ.get("LOOKALIKE_TEST_SCREENSHOTS")
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


Look = Callable[..., Watched]


@pytest.fixture
def look(browser: Browser, service: tuple[Installation, Client]) -> Iterator[Look]:
    """Opens a window of its own for each call; at the end no window may have a fault."""
    url = service[0].url
    opened = []

    def new(**options: object) -> Watched:
        context = browser.new_context(ignore_https_errors=True, locale="en-GB", **({"viewport": DESKTOP} | options))
        context.set_default_timeout(WAIT_MS)
        watched = Watched(context.new_page(), url)
        page = watched.page
        page.on("pageerror", lambda error: watched.faults.append(f"error: {error}"))
        page.on("console", lambda said: watched.faults.append(said.text) if said.type == "error" else None)
        page.on(
            "request",
            lambda asked: (
                watched.faults.append(f"asked elsewhere: {asked.url}")
                if not asked.url.startswith((url, "blob:" + url, "data:"))
                else None
            ),
        )
        opened.append((context, watched))
        return watched

    yield new
    for context, _ in opened:
        context.close()
    # A refusal that a journey provokes is told by the browser as well, as the status of an answer.
    faults = [fault for _, watched in opened for fault in watched.faults if "the server responded with" not in fault]
    assert faults == []


def png(name: str, data: bytes) -> dict[str, object]:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def name_of(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(3)}"


PATHS = {
    "overview": "/",
    "new-collection": "/console/new-collection",
    "collection": "/console/collections/staff",
    "empty": "/console/collections/empty",
    "subjects": "/console/collections/staff/subjects",
    "subject": "/console/collections/staff/subjects/Barack%20%3Cb%3EObama",
    "enrol": "/console/collections/staff/enrol",
    "identify": "/console/collections/staff/identify",
    "search": "/console/collections/shelf/search",
    "threshold": "/console/collections/staff/threshold",
    "uncalibrated": "/console/collections/shelf/threshold",
    "pending": "/console/collections/staff/pending",
    "unknowns": "/console/collections/staff/unknowns",
    "settings": "/console/collections/staff/settings",
    "jobs": "/console/jobs",
    "models": "/console/models",
    "audit": "/console/audit",
    "keys": "/console/keys",
    "missing": "/console/nowhere",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_can_be_read_and_used_by_everybody(look: Look, scheme: str, viewport: dict[str, int]):
    window = look(color_scheme=scheme, viewport=viewport)
    found = {}
    page = window.open("/console/sign-in")
    found["sign-in"] = wrong_with(page)
    window.sign_in()
    for name, path in PATHS.items():
        page = window.open(path)
        found[name] = wrong_with(page)
        window.picture(f"{name}-{scheme}-{viewport['width']}")
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_the_keyboard_alone_signs_in_and_sees_where_it_is(look: Look):
    window = look()
    page = window.open("/console/sign-in")
    assert page.evaluate("document.activeElement.id") == "key"
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    page.wait_for_url(window.url + "/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(4):
        page.keyboard.press("Tab")
        where = page.evaluate(
            "[document.activeElement.localName, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert where == ["a", "solid"]


def test_someone_is_enrolled_from_files_identified_and_erased(look: Look, portraits: dict[str, bytes], tmp_path: Path):
    window = look()
    page = window.sign_in()
    collection = name_of("door")
    page.get_by_role("link", name="New collection").click()
    page.get_by_label("Name").fill(collection)
    page.get_by_text("1 in 1000 strangers").click()
    page.get_by_role("button", name="Create collection").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(collection)
    page.get_by_role("link", name="Enrol pictures").click()

    files = [png("good.png", portraits["obama.jpg"]), png("grey.png", encoded(gradient(), "PNG")), png("bad.png", b"x")]
    page.locator("#files").set_input_files(files)
    expect(page.locator("#trouble")).to_have_text("First say who it is.")
    page.get_by_label("Subject").fill("Barack Obama")
    page.locator("#files").set_input_files(files)
    expect(page.locator("#summary")).to_have_text("1 enrolled, 2 refused, of 3")
    rows = page.locator("#list > li")
    expect(rows.filter(has_text="good.png")).to_contain_text("Enrolled, quality")
    expect(rows.filter(has_text="grey.png")).to_contain_text("No face was found")
    expect(rows.filter(has_text="bad.png")).to_contain_text("No JPEG, PNG or WebP picture")
    window.picture("enrolled")

    rows.get_by_role("link", name="Open Barack Obama").click()
    crop = page.get_by_alt_text("Sample 1")
    expect(crop).to_be_visible()
    expect(crop).to_have_js_property("naturalWidth", 112)  # a polled expression would need what the pages forbid

    page.get_by_role("link", name="Identify").click()
    page.locator("#files").set_input_files(png("probe.png", portraits["obama2.jpg"]))
    expect(page.locator("#found").get_by_role("link", name="Barack Obama")).to_be_visible()
    expect(page.locator("#frame rect.known")).to_have_count(1)
    assert soon(lambda: drawn(page.locator("#found canvas").first))
    assert wrong_with(page) == []
    window.picture("identified")
    page.locator("#files").set_input_files(png("stranger.png", portraits["astronaut.png"]))
    expect(page.locator("#found")).to_contain_text("Nobody enrolled here is alike enough")
    expect(page.locator("#frame rect.unknown")).to_have_count(1)
    window.picture("unknown")

    window.open(f"/console/collections/{collection}/subjects/Barack%20Obama")
    button = page.get_by_role("button", name="Erase for ever")
    expect(button).to_be_disabled()
    page.get_by_label("Type Barack Obama to confirm").fill("Barack Obama")
    button.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Receipt")
    assert wrong_with(page) == []
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the receipt").click()
    download.value.save_as(tmp_path / "receipt.json")
    assert set(json.loads((tmp_path / "receipt.json").read_text())) >= {"body", "signature", "public_key"}
    page.get_by_role("link", name="Go on").click()
    expect(page.locator("main")).to_contain_text("Nobody is enrolled here yet")


def wrong_with(page: Page) -> list[object]:
    """What the checks of a page find, once it has come to rest."""
    found: list[object] = []

    def sound() -> bool:
        found[:] = page.evaluate(CHECKS)
        return not found

    soon(sound)
    return found


def soon(holds: Callable[[], bool]) -> bool:
    """Whether it holds within some seconds."""
    deadline = time.monotonic() + CALM_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def drawn(canvas: Locator) -> bool:
    """Whether something was painted on it."""
    return canvas.evaluate("c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0)")


def test_a_file_that_is_dropped_is_looked_at(look: Look, portraits: dict[str, bytes]):
    window = look()
    window.sign_in()
    page = window.open("/console/collections/staff/identify")
    transfer = page.evaluate_handle(
        """(text) => {
            const made = new DataTransfer();
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            made.items.add(new File([bytes], "a.jpg", { type: "image/jpeg" }));
            return made;
        }""",
        base64.b64encode(portraits["obama2.jpg"]).decode(),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    expect(page.locator("#found")).to_contain_text(NAME)


def test_the_webcam_says_what_would_be_better_and_its_picture_is_enrolled(look: Look):
    window = look()
    page = window.sign_in()
    window.open("/console/collections/empty/enrol")
    page.get_by_label("Subject").fill("the man before the camera")
    page.get_by_role("button", name="Use the webcam").click()
    expect(page.locator("#hint")).to_have_text("Good. Take the picture.")
    expect(page.locator("#frame rect.known")).to_have_count(1)
    window.picture("webcam")
    page.get_by_role("button", name="Take this picture").click()
    expect(page.locator("#summary")).to_have_text("1 enrolled, 0 refused, of 1")
    page.get_by_role("button", name="Close the camera").click()
    expect(page.locator("#camera")).to_be_hidden()


def test_a_rate_is_chosen_by_the_keys_of_the_slider_and_saved(look: Look):
    window = look()
    window.sign_in()
    page = window.open("/console/collections/staff/threshold")
    before = page.locator("#bar").get_attribute("transform")
    slider = page.get_by_label("How rare should false alarms be?")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = "About 1 false alarm in 300 visitors who are not enrolled."
    expect(page.locator("#alarms")).to_have_text(said)
    assert slider.get_attribute("aria-valuetext") == said
    assert page.locator("#bar").get_attribute("transform") != before
    page.get_by_label("Strangers a day").fill("900")
    expect(page.locator("#per-day")).to_have_text("about 3 false alarms a day")
    page.get_by_role("button", name="Use this rate").click()
    expect(page.get_by_role("status").first).to_have_text("Saved.")
    expect(page.locator("#alarms")).to_have_text(said)


def test_a_box_that_is_drawn_is_searched(look: Look):
    window = look()
    window.sign_in()
    page = window.open("/console/collections/shelf/search")
    page.locator("#files").set_input_files(png("two.png", encoded(scene(1), "PNG")))
    expect(page.locator("#found")).to_contain_text("thing 1")
    shown = page.locator("#probe").bounding_box()
    page.mouse.move(shown["x"] + shown["width"] * 0.25, shown["y"] + shown["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(shown["x"] + shown["width"] * 0.75, shown["y"] + shown["height"] * 0.75)
    with page.expect_response("**/search") as answer:
        page.mouse.up()
    assert answer.value.status == 200
    left, width = (int(page.get_by_label(side, exact=True).input_value()) for side in ("left", "width"))
    assert abs(left - 80) <= 2 and abs(width - 160) <= 3
    expect(page.locator("#found .things")).to_contain_text("Similarity")
    expect(page.locator("#frame rect.drawn")).to_have_count(1)
    assert wrong_with(page) == []
    window.picture("searched")


def test_a_session_that_ended_leads_to_the_door_and_back(look: Look, service: tuple[Installation, Client]):
    _, client = service
    key = client.create_api_key("short", [{"role": "enroller", "collection": None}])
    window = look()
    page = window.sign_in(key["key"])
    window.open("/console/collections/staff/identify")
    client.revoke_api_key(key["id"])
    page.locator("#files").set_input_files(png("a.png", encoded(scene(2), "PNG")))
    page.wait_for_url("**/console/sign-in?next=*")
    expect(page.locator("main")).to_contain_text("Your session has ended, or there was none.")
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console/collections/staff/identify")


def test_a_key_is_made_shown_once_and_revoked(look: Look):
    window = look()
    window.sign_in()
    page = window.open("/console/keys")
    name = name_of("gate")
    page.get_by_label("Name").fill(name)
    page.get_by_text("Identifier", exact=True).click()
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator("#secret").inner_text()
    assert secret.startswith("lk_") and wrong_with(page) == []
    window.open("/console/keys")
    assert secret not in page.content()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"Revoke the key {name}").click()
    expect(page.get_by_text(name)).to_have_count(0)


def test_nothing_of_a_session_is_left_in_the_browser_s_stores(look: Look):
    window = look()
    page = window.sign_in()
    window.open("/console/collections/staff/enrol")
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert kept == '[{},{},""]'
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/sign-in")
    window.open("/console/collections/staff")
    page.wait_for_url("**/console/sign-in?next=*")
