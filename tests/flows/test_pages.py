"""The API's pages in a real browser: ask for a matchup, watch it to its end, open a battle, read what was thought."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pydantic import SecretStr

from deploy.client import MATCHUPS
from deploy.stack import LocalStack
from shared.records import NewMatchup
from tests.flows.conftest import make_stack

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 60
expect.set_options(timeout=SECONDS * 1000)
HOSTILE = "<img src=x onerror=alert(1)>"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is on PATH, and pages are looked at with one"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # In a container there is no other sandbox to run it in.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which an error of a script, and a request to anywhere else, fails the test."""
    faults: list[str] = []
    opened = browser.new_page()
    opened.set_default_timeout(SECONDS * 1000)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if _is_refused(said.text) else None)
    opened.on("request", lambda asked: faults.append(asked.url) if _is_elsewhere(asked.url) else None)
    yield opened
    opened.close()
    assert faults == []


# Redoc's own sign, which the page's policy keeps it from loading.
REDOC_SIGN = "https://cdn.redoc.ly/redoc/logo-mini.svg"


def _is_refused(said: str) -> bool:
    return "Content Security Policy" in said and REDOC_SIGN not in said


def _is_elsewhere(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "blob:", "data:", "about:", REDOC_SIGN))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with a model that answers, by the name `small`."""
    folder = tmp_path_factory.mktemp("pages")
    command = [sys.executable, "-m", "tests.standins.models", "--service-ms", "5"]
    with ExitStack() as closing:
        model = closing.enter_context(
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ)
        )
        closing.callback(model.kill)
        assert model.stdout is not None
        endpoints = folder / "endpoints.toml"
        endpoints.write_text(f'[small]\nurl = "http://127.0.0.1:{int(model.stdout.readline())}"\n')
        yield closing.enter_context(make_stack(folder, arena_workers=1, endpoints_file=str(endpoints)))


def test_a_matchup_is_asked_for_watched_to_its_end_and_opened(stack: LocalStack, page: Page) -> None:
    page.goto(stack.url)
    page.get_by_text("New matchup").click()
    page.get_by_label("First policy").fill("tgi:small")
    page.get_by_label("Second policy").fill("random")
    page.get_by_label("Battles").fill("2")
    expect(page.locator("#estimate")).to_contain_text("About 2 battles")
    page.get_by_role("button", name="Ask for it").click()

    page.wait_for_url("**/live")
    expect(page.locator(".battle").first).to_be_visible()
    expect(page.locator(".board").first).to_contain_text("%")
    matchup = page.url.split("/")[-2]
    expect(page.locator(".result").first).to_contain_text("won.")

    page.goto(f"{stack.url}/matchups/{matchup}/live#battle=0&turn=2")
    expect(page.locator(".when")).to_have_count(1)
    expect(page.locator(".when")).to_contain_text("Turn 2")
    expect(page.locator(".decisions")).to_contain_text("It answered")
    page.locator(".decisions summary").first.click()
    expect(page.locator(".decisions pre").first).to_contain_text("Choose:")
    before = page.locator(".when").inner_text()
    page.get_by_role("button", name="Step on").click()
    assert page.locator(".when").inner_text() != before
    page.locator(".battle").press("End")
    expect(page.locator(".result")).to_contain_text("won.")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Showdown replay").click()
    replay = saved.value.path().read_text()
    assert "battle-log-data" in replay and r"<\/" not in replay.partition("battle-log-data")[0]

    page.goto(stack.url)
    expect(page.locator(".work").first).to_contain_text("tgi:small vs random")
    page.locator(".work").first.get_by_text("report").click()
    page.locator("a.cell").nth(1).click()
    expect(page.locator("#opened .when")).to_contain_text("Leads")
    page.locator("#opened .battle").press("]")
    expect(page.locator("#opened .when")).to_contain_text("Turn 1")
    assert page.url.endswith("#battle=1&turn=1")


def test_who_comes_late_sees_the_battle_from_its_beginning(stack: LocalStack, browser: Browser, page: Page) -> None:
    with stack.client() as client:
        asked = client.ask(MATCHUPS, NewMatchup(p1="random", p2="random", battles=2, move_delay=0.5))
    live = f"{stack.url}/matchups/{asked.id}/live"
    page.goto(live)
    expect(page.locator(".when").first).to_contain_text("Turn 3")
    late = browser.new_page()
    late.goto(live)
    expect(late.locator(".told").first).to_contain_text("Leads")
    expect(late.locator(".told").first).to_contain_text("Turn 3")
    late.close()
    with stack.client() as client:
        client.cancel(MATCHUPS, asked.id)


def test_what_was_written_elsewhere_is_shown_as_text(stack: LocalStack, page: Page) -> None:
    page.goto(stack.url)
    page.get_by_text("New matchup").click()
    page.get_by_label("First policy").fill(HOSTILE)
    page.get_by_role("button", name="Ask for it").click()
    expect(page.locator("#ask .fault")).to_contain_text("unknown policy")
    page.evaluate(
        """(text) => new BattleView(document.body.appendChild(document.createElement("div")), {
            names: { p1: text, p2: text }, broken: text, log: [text], tag: text, format: text,
            pokemon: [{ name: text, level: 5, hp: 50, types: [text], ability: text, item: text, moves: [text],
                        status: text, boosts: { [text]: 1 }, effects: [text], tera: text, as: text }],
            steps: [{ turn: 1, said: [text], field: [text],
                      p1: { active: 0, bench: [0], unseen: 1, conditions: [text] },
                      p2: { active: null, bench: [], unseen: 6, conditions: [] } }],
            chances: [[0, 0.5, 0], [1, 0.9, 0.4]],
            decisions: [{ turn: 1, policy: "p1", better: { text }, action: text, outcome: text, reason: text, ms: 1,
                          reasoning: text,
                          asked: [{ prompt: text, answer: text, detail: text, reason: text, model: text,
                                    probabilities: { [text]: 0.5 } }] }],
        })""",
        HOSTILE,
    )
    expect(page.locator(".battle")).to_contain_text(HOSTILE)
    expect(page.locator(".chances")).to_contain_text("90 %")
    page.locator(".curve").click(position={"x": 2, "y": 9})
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_is_there_without_internet(stack: LocalStack, page: Page, path: str) -> None:
    page.goto(stack.url + path)
    expect(page.get_by_text("Ask for a matchup").last).to_be_visible()


def test_the_console_asks_for_the_token_once(tmp_path: Path, page: Page) -> None:
    with make_stack(tmp_path, arena_workers=0, api_token=SecretStr("right horse")) as stack:
        page.goto(stack.url)
        page.get_by_label("This API wants its token").fill("wrong")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_text("That is not this API's token.")).to_be_visible()
        page.get_by_label("This API wants its token").fill("right horse")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_text("No matchups yet.")).to_be_visible()
        page.reload()
        expect(page.get_by_text("No matchups yet.")).to_be_visible()
        cookie = page.context.cookies()[0]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict") and "right" not in cookie["value"]
