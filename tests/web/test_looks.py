"""The page for everybody: by keyboard, by screen reader, on a phone, in the dark, and with texts
that want to be more than text.

`python3 test_looks.py` makes the environment that it needs and runs pytest on this file."""

import sys

if __name__ == "__main__":
    import environment

    sys.exit(environment.main(__file__))

import json
import re

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import expect
from pool_and_page import screenshots

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
LOOKS = [(scheme, size) for scheme in ("light", "dark") for size in ("desktop", "phone")]


def look(scheme, size):
    # Colours that are on their way to others have no contrast to measure.
    return {"color_scheme": scheme, "reduced_motion": "reduce",
            "viewport": DESKTOP if size == "desktop" else PHONE}


def check(page, name):
    """No violation, no sideways scroll, and a picture of it for people."""
    page.page.screenshot(path=screenshots() / f"{name}.png", full_page=True)
    found = Axe().run(page.page)["violations"]
    assert not found, json.dumps([{"rule": one["id"], "help": one["help"],
                                   "where": [node["html"][:200] for node in one["nodes"]]}
                                  for one in found], indent=2)
    page.page.evaluate("window.scrollTo(0, 0)")
    wide, room = page.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= room, f"{wide} px wide, {room} px are there"


# ---- Looks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme,size", LOOKS)
def test_a_users_view_is_accessible_and_fits(visit, token, scheme, size):
    page = visit(token, expected=[422], **look(scheme, size)).live()
    page.make("a red heart with a name that is long enough to need more than one line of a phone")
    page.expect_picture("a red heart with a name")
    page.make("a slow one", steps=6000)
    expect(page.job("a slow one").locator(".chip")).to_have_text("running")
    page.make("it waits", duration=5)
    expect(page.job("it waits")).to_be_visible()
    page.make("refused", duration=299)
    expect(page.locator(".refusal")).to_be_visible()
    page.open_all()
    check(page, f"user-{scheme}-{size}")


@pytest.mark.parametrize("scheme,size", LOOKS)
def test_an_operators_view_is_accessible_and_fits(visit, token, shared_pool, scheme, size):
    theirs = visit(token).live()
    theirs.make("a slow one", steps=6000)
    expect(theirs.job("a slow one").locator(".chip")).to_have_text("running")
    page = visit(shared_pool.operator_token(), **look(scheme, size)).live()
    page.page.get_by_role("link", name="The pool").click()
    expect(page.locator("#queue tbody tr")).to_have_count(1)
    page.page.get_by_label("Account", exact=True).press("Enter")
    expect(page.locator("#accounts table")).to_be_visible()
    page.page.get_by_label("Any operator's command").fill("nodes")
    page.page.get_by_label("Any operator's command").press("Enter")
    expect(page.locator("#operate-answer table")).to_be_visible()
    page.open_all()
    check(page, f"operator-{scheme}-{size}")


@pytest.mark.parametrize("scheme,size", LOOKS)
def test_the_page_of_a_caller_who_is_not_recognised_is_accessible(visit, scheme, size):
    page = visit("nonsense", expected=[401], **look(scheme, size)).open()
    expect(page.locator("#not-recognised")).to_be_visible()
    check(page, f"not-recognised-{scheme}-{size}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_first_look_has_a_picture_for_people(visit, shared_pool, scheme):
    token = shared_pool.token("ada")
    page = visit(token, **look(scheme, "desktop")).live()
    for prompt in ("a red heart", "a yellow star", "a blue fish", "a tree"):
        page.make(prompt)
        page.expect_picture(prompt)
    page.make("a green frog", steps=600)
    progress = page.job("a green frog").locator("progress")
    page.wait_for(progress, "bar => bar.value >= 60")
    page.page.evaluate("window.scrollTo(0, 0)")
    page.page.screenshot(path=screenshots() / f"first-look-{scheme}.png")
    shared_pool.cancel_all(token)


def test_nothing_moves_for_who_wants_no_motion(visit, token):
    page = visit(token, reduced_motion="reduce").live()
    moving = page.page.evaluate("""
      [...document.querySelectorAll('*')].map(one => getComputedStyle(one))
        .filter(style => style.animationName !== 'none'
          || style.transitionDuration.split(', ').some(time => parseFloat(time) > 0)).length""")
    assert moving == 0


# ---- By keyboard -------------------------------------------------------------------------------


def test_a_job_from_token_to_picture_by_keyboard_alone(visit, token, user):
    page = visit().live()
    keyboard = page.page.keyboard
    keyboard.press("Tab")
    assert page.focused() == "Skip to the content"
    keyboard.press("Enter")
    page.tab_to(page.locator("#token-summary"))
    keyboard.press("Enter")
    page.tab_to(page.page.get_by_label("Token", exact=True))
    keyboard.type(token)
    keyboard.press("Enter")
    expect(page.locator("#you-account")).to_have_text(f"user:{user}")
    page.tab_to(page.prompt)
    keyboard.type("a red heart")
    page.tab_to(page.locator("#make-more summary"))
    keyboard.press("Enter")
    page.tab_to(page.page.get_by_label(re.compile("Steps")))
    keyboard.type("60")
    page.tab_to(page.duration, "Shift+Tab")
    keyboard.type("20")
    keyboard.press("Enter")
    receipt = page.receipt("a red heart")
    expect(receipt).to_be_visible(timeout=60_000)
    picture = page.picture("a red heart").get_by_role("button")
    picture.scroll_into_view_if_needed()
    expect(picture).to_be_enabled()
    page.tab_to(picture)
    keyboard.press("Enter")
    viewer = page.page.get_by_role("dialog")
    expect(viewer).to_be_visible()
    keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(picture).to_be_focused()
    page.tab_to(receipt.locator("summary").first)
    keyboard.press("Enter")
    expect(receipt.locator(".story li").first).to_be_visible()


def test_a_job_is_cancelled_by_keyboard_and_the_focus_stays_where_it_was(visit, token):
    page = visit(token).live()
    page.make("a slow one", steps=6000)
    cancel = page.job("a slow one").get_by_role("button", name=re.compile("Cancel"))
    page.tab_to(cancel)
    page.page.keyboard.press("Enter")
    expect(page.receipt("a slow one").locator(".chip")).to_have_text("cancelled")
    assert page.focused() == "title-jobs"


def test_what_has_the_focus_shows_it(visit, token):
    page = visit(token).live()
    expect(page.locator("#quote")).to_contain_text("at most")
    seen = set()
    for _ in range(25):
        page.page.keyboard.press("Tab")
        name, outline = page.page.evaluate("""(() => {
          const style = getComputedStyle(document.activeElement);
          return [document.activeElement.id || document.activeElement.textContent,
                  style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
        })()""")
        if page.page.evaluate("document.activeElement === document.body"):
            break  # past the last one
        assert outline, f"{name} has the focus and does not show it"
        seen.add(name)
    assert len(seen) >= 10


def test_the_end_of_a_job_is_said_to_who_listens(visit, token):
    page = visit(token).live()
    page.page.evaluate("""
      window.said = [];
      new MutationObserver(() => window.said.push(document.getElementById('polite').textContent))
        .observe(document.getElementById('polite'), {childList: true, characterData: true});""")
    page.make("a red heart")
    expect(page.receipt("a red heart")).to_be_visible(timeout=60_000)
    expect(page.page.get_by_role("status").filter(has_text=re.compile(
        r"job \d+ succeeded, charged [\d.]+ s"))).to_be_attached()
    said = [text for text in page.page.evaluate("window.said") if text]
    assert len(said) <= 2, said  # admitted, over: not every step


# ---- Hostile texts -----------------------------------------------------------------------------

HOSTILE = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=2</script>" \
          "<svg onload='window.hacked=3'>\"'><b>bold"


def expect_only_text(page):
    assert page.page.evaluate("window.hacked") is None
    assert page.page.evaluate("document.querySelectorAll('script:not([src]), img[src=x]').length") \
        == 0
    assert page.page.evaluate("document.querySelectorAll('main b').length") == \
        page.page.evaluate("[...document.querySelectorAll('main b')]"
                           ".filter(one => one.textContent !== 'bold').length")


def test_a_hostile_prompt_stays_a_text(visit, token):
    page = visit(token).live()
    page.make(HOSTILE)
    expect(page.receipt("window.hacked")).to_be_visible(timeout=60_000)
    expect(page.receipt("window.hacked").locator(".prompt")).to_have_text(HOSTILE)
    page.expect_picture("window.hacked")
    page.picture("window.hacked").get_by_role("button").click()
    expect(page.page.get_by_role("dialog")).to_contain_text("onerror")
    page.page.keyboard.press("Escape")
    page.open_all()
    expect_only_text(page)


def test_a_hostile_announcement_stays_a_text(visit, token, shared_pool):
    root = shared_pool.operator_token()
    page = visit(token).live()
    try:
        shared_pool.gpupool(root, "announce", HOSTILE)
        expect(page.locator("#announcement")).to_have_text(HOSTILE)
        expect_only_text(page)
    finally:
        shared_pool.gpupool(root, "announce", "--clear")


def hostile_copy(value):
    """An answer of the pool whose every free text is hostile; what the page computes with stays."""
    kept = ("_at", "_start", "_until", "kind", "state", "outcome", "media_type", "unit", "executor",
            "at", "since", "ends_by", "day", "from", "to", "began", "now", "known_since",
            "stream", "request", "default")
    if isinstance(value, dict):
        return {key: one if isinstance(one, str) and key.endswith(kept) else hostile_copy(one)
                for key, one in value.items()}
    if isinstance(value, list):
        return [hostile_copy(one) for one in value]
    return HOSTILE if isinstance(value, str) else value


def hostile_event(name, data):
    return f"event: {name}\ndata: {json.dumps(hostile_copy(data))}\n\n"


def test_whatever_a_pool_says_stays_a_text(visit, token, shared_pool):
    """Names of apps, accounts, nodes, details: as if a pool would let any text through."""
    theirs = visit(token).live()
    theirs.make("a red heart")
    expect(theirs.receipt("a red heart")).to_be_visible(timeout=60_000)
    theirs.make("a slow one", steps=6000)
    expect(theirs.job("a slow one").locator(".chip")).to_have_text("running")
    root = shared_pool.operator_token()
    answer = {path: shared_pool.ask(token, path) for path in (
        "v1/pool", "v1/quota", "v1/jobs", "v1/receipts", "v1/usage", "v1/changes")}
    overview = shared_pool.ask(root, "v1/overview")
    overview["audit"] = {"at": overview["at"], "who": "x", "findings": ["x"], "sequence": 1,
                         "open_holds": 0, "accounts": 1}
    overview["totals"]["refused"] = {HOSTILE: 1}
    answer["v1/pool"]["apps"][0]["parameters"] = [
        {"name": "x", "kind": "text", "required": True, "choices": [], "min": None, "max": None,
         "default": None, "about": "x"}]
    caller = answer["v1/quota"]["caller"] | {"operator": True}
    stream = "".join(hostile_event(name, data) for name, data in (
        ("hello", {"stream": "1", "pool": "x", "build": "x", "announcement": "x",
                   "now": overview["at"], "caller": caller}),
        ("quota", answer["v1/quota"] | {"caller": caller}),
        ("jobs", answer["v1/jobs"]),
        ("overview", overview)))
    page = visit(token, expected=[429, 404])
    story = {"story": [{"at": overview["at"], "text": "x"}]}
    refusal = {"refused": {
        "code": "x", "number": 112, "sentence": "x", "hint": "x", "detail": "y", "want": 1,
        "have": 2, "unit": "jobs", "request": "x", "app": "x", "size": "x", "factor": 1,
        "declared_ms": 1000, "cost_ms": 1000, "account": "x", "tier": "x", "recognised_by": "x",
        "balance": answer["v1/quota"]["balance"]}}

    def fulfill(status, value):
        return lambda route: route.fulfill(status=status, json=hostile_copy(value))

    page.page.route(re.compile(r"/v1/jobs(\?|$)"), fulfill(429, refusal))
    page.page.route(re.compile(r"/v1/quote\?"), fulfill(200, refusal))
    page.page.route("**/explain", fulfill(200, story))
    page.page.route("**/v1/operate", fulfill(200, {
        "title": "x", "columns": ["x", "y_ms"], "rows": [{"x": "x", "y_ms": "x"}], "note": "x",
        "more": "x"}))
    for path, value in answer.items():
        if path not in ("v1/jobs", "v1/quota"):
            page.page.route(re.compile(path + r"(\?|$)"),
                            fulfill(200, value | ({"caller": caller} if "caller" in value else {})))
    page.page.route("**/v1/events", lambda route: route.fulfill(
        status=200, content_type="text/event-stream", body=stream))
    page.open()
    expect(page.locator("#you-account")).to_have_text(HOSTILE)
    expect(page.locator("#announcement")).to_have_text(HOSTILE)
    expect(page.locator("#make-app option").first).to_have_text(HOSTILE)
    expect(page.locator("#receipts .receipt").first).to_contain_text(HOSTILE)
    expect(page.locator("#jobs .job").first).to_contain_text(HOSTILE)
    page.locator("#make-form").evaluate("form => { form.noValidate = true; form.requestSubmit(); }")
    expect(page.locator(".refusal .sentence")).to_have_text(HOSTILE)
    page.open_all()
    expect(page.locator(".story").first).to_contain_text(HOSTILE)
    expect_only_text(page)
    page.page.get_by_role("link", name="The pool").click()
    expect(page.locator("#nodes .node").first).to_contain_text(HOSTILE)
    expect(page.locator("#audit-findings")).to_contain_text(HOSTILE)
    expect(page.locator("#refused")).to_contain_text(HOSTILE)
    page.page.get_by_label("Any operator's command").fill("help")
    page.page.get_by_label("Any operator's command").press("Enter")
    expect(page.locator("#operate-answer")).to_contain_text(HOSTILE)
    page.open_all()
    expect_only_text(page)


def test_the_page_may_load_and_send_nothing_elsewhere(visit, token, shared_pool):
    page = visit(token)
    headers = page.page.goto(page.url).headers
    policy = headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'",
                 "connect-src 'self'", "form-action 'none'", "base-uri 'none'",
                 "frame-ancestors 'none'"):
        assert part in policy
    assert headers["x-content-type-options"] == "nosniff"
    page.expect_live()
    asked = page.page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
    assert asked and all(name.startswith(shared_pool.url) for name in asked), asked
    assert not [name for name in asked if token in name]
