"""The page in a real browser before a real pool: what people do with it, and what it tells them.

`python3 test_page.py` makes the environment that it needs and runs pytest on this file."""

import sys

if __name__ == "__main__":
    import environment

    sys.exit(environment.main(__file__))

import re

import pytest
from environment import pool as tools
from playwright.sync_api import expect
from pool_and_page import ARITHMETIC, seconds

wait_until = tools.wait_until
LONG = 6000  # steps that no test waits for


# ---- Making a picture --------------------------------------------------------------------------


def test_a_picture_is_made_and_the_bar_and_the_progress_move(visit, token):
    page = visit(token).live()
    expect(page.locator("#quota-left")).to_have_text("210.0 s")
    page.make("a red heart", steps=200)
    job = page.job("a red heart")
    expect(job).to_be_visible()
    expect(page.locator("#quota-held")).to_have_text("60.0 s")
    expect(page.locator("#quota-left")).to_have_text("150.0 s")
    page.wait_for(page.locator("#bar-held"), "bar => bar.offsetWidth > 50")
    progress = job.locator("progress")
    expect(progress).to_have_attribute("max", "200")
    page.wait_for(progress, "bar => bar.value >= 10")
    page.expect_picture("a red heart")
    expect(page.locator("#quota-held")).to_have_text("0.0 s")
    assert seconds(page.locator("#quota-used").inner_text()) > 0
    expect(page.locator("#jobs-none")).to_be_visible()


def test_the_picture_shows_while_it_forms(visit, token):
    page = visit(token).live()
    page.make("a tree", steps=400)
    preview = page.job("a tree").locator("img.preview")
    expect(preview).to_be_visible()
    page.wait_for(preview, "image => image.naturalWidth > 0")
    expect(preview).to_have_attribute("alt", re.compile(r"preview of job \d+ at step \d+"))


def test_a_receipt_adds_up_and_has_its_story(visit, token, shared_pool):
    page = visit(token).live()
    page.make("a yellow star", duration=15)
    receipt = page.receipt("a yellow star")
    expect(receipt).to_be_visible(timeout=60_000)
    text = receipt.locator(".arithmetic").inner_text()
    declared, ran, factor, held, charged, back = map(float, ARITHMETIC.search(text).groups())
    assert declared == held == 15
    assert ran * factor == charged > 0
    assert round(charged + back, 3) == held
    kept = shared_pool.ask(token, "v1/receipts")["receipts"][0]
    assert abs(kept["charged_ms"] - 1000 * charged) < 100
    receipt.get_by_text("Explain").click()
    expect(receipt.locator(".story li").first).to_be_visible()
    assert receipt.locator(".story li").count() >= 2
    receipt.get_by_text("Log").click()
    expect(receipt.locator("pre")).to_contain_text("steps")


def test_a_picture_can_be_looked_at_large_and_made_again(visit, token):
    page = visit(token).live()
    page.make("a green apple")
    page.expect_picture("a green apple")
    page.picture("a green apple").get_by_role("button").click()
    viewer = page.page.get_by_role("dialog")
    expect(viewer).to_contain_text("a green apple")
    expect(viewer).to_contain_text("seed")
    with page.page.expect_download() as download:
        viewer.get_by_role("link", name="Save").click()
    assert download.value.suggested_filename.endswith(".png")
    viewer.get_by_role("button", name="Take its arguments").click()
    expect(viewer).to_be_hidden()
    expect(page.prompt).to_have_value("a green apple")
    expect(page.page.get_by_label("Seed")).not_to_have_value("")


def test_the_quote_follows_what_is_typed(visit, token):
    page = visit(token).live()
    quote = page.locator("#quote")
    expect(quote).to_contain_text("60.0 s at most")
    page.duration.fill("15")
    expect(quote).to_contain_text("15.0 s at most (15.0 s at large, factor 1)")
    expect(quote).to_contain_text("195.0 s of 210.0 s while it is held")
    expect(quote).to_contain_text("a start by")
    page.duration.fill("1000")
    expect(quote).to_contain_text("would be refused")
    expect(quote).to_contain_text("1000.0 s requested")


def test_what_past_runs_took_is_advised_and_can_be_taken(visit, token):
    page = visit(token).live()
    for number in range(4):
        page.make(f"a red heart {number}")
        expect(page.receipt(f"a red heart {number}")).to_be_visible(timeout=60_000)
    expect(page.locator("#advice-text")).to_contain_text("runs of emoji took")
    button = page.locator("#advice-use")
    advised = re.search(r"[\d.]+", button.inner_text())[0]
    button.click()
    expect(page.duration).to_have_value(advised)
    expect(page.locator("#quote")).to_contain_text(f"{float(advised):.1f} s at most")


# ---- Being refused -----------------------------------------------------------------------------


def test_a_refusal_says_why_with_all_numbers_and_what_would_fit(visit, token):
    page = visit(token, expected=[429]).live()
    page.make("a long one", steps=LONG, duration=180)
    expect(page.locator("#quota-held")).to_have_text("180.0 s")
    page.make("one too many", duration=60)
    refusal = page.locator(".refusal")
    expect(refusal.get_by_role("heading", name="Refused: quota_exceeded")).to_be_focused()
    expect(refusal.locator(".sentence")).to_contain_text(
        "60.0 s requested (large, factor 1), 30.0 s left, 180.0 s held")
    expect(refusal.locator(".hint")).to_contain_text("a request of up to 30.0 s would be admitted")
    numbers = refusal.locator("dl")
    for name, value in (("cost", "60.0 s"), ("left", "30.0 s"), ("held", "180.0 s"),
                        ("allowance", "210.0 s"), ("fits now, large", "up to 30.0 s")):
        row = numbers.locator("div").filter(has=page.page.get_by_text(name, exact=True))
        expect(row.locator("dd")).to_contain_text(value)
    refusal.get_by_text("Explain").click()
    expect(refusal.locator(".story li").first).to_be_visible()
    refusal.get_by_role("button", name="Ask for 30 s").click()
    expect(page.duration).to_have_value("30")
    expect(page.duration).to_be_focused()
    refusal.get_by_role("button", name="Put away").click()
    expect(refusal).to_have_count(0)


def test_a_malformed_request_is_told_in_the_words_of_the_pool(visit, token):
    page = visit(token, expected=[400]).live()
    page.page.evaluate("document.getElementById('make-form').noValidate = true")
    page.make("a tree", steps=99_999)
    said = page.locator("#make-form").locator("..").get_by_text("steps must be")
    expect(said.first).to_be_visible()


# ---- Jobs --------------------------------------------------------------------------------------


def test_a_queued_job_shows_its_promise_and_is_cancelled_for_nothing(visit, token):
    page = visit(token).live()
    page.make("the first", steps=LONG)
    expect(page.job("the first").locator(".chip")).to_have_text("running")
    page.make("the second", duration=20)
    second = page.job("the second")
    expect(second.locator(".chip")).to_have_text("queued")
    expect(second).to_contain_text(
        re.compile(r"position 1; starts by [\d:A-Za-z ]+ at the latest, likely in"))
    second.get_by_role("button", name=re.compile("Cancel job")).click()
    receipt = page.receipt("the second")
    expect(receipt.locator(".chip")).to_have_text("cancelled")
    expect(receipt.locator(".arithmetic")).to_contain_text(
        "held 20.0 s, charged 0.0 s, 20.0 s given back")
    expect(second).to_have_count(0)
    page.job("the first").get_by_role("button", name=re.compile("Cancel job")).click()
    expect(page.receipt("the first").locator(".chip")).to_have_text("cancelled")
    expect(page.locator("#quota-held")).to_have_text("0.0 s")


def test_a_job_of_the_command_line_shows_in_the_page_to_its_end(visit, token, shared_pool):
    page = visit(token).live()
    shared_pool.gpupool(token, "submit", "emoji", "prompt=a blue fish", "steps=1000", "--detach")
    expect(page.locator("#jobs .job")).to_have_count(1)
    expect(page.locator("#receipts .receipt")).to_have_count(1, timeout=60_000)
    expect(page.locator("#jobs .job")).to_have_count(0)
    # One that is over before anybody looks.
    shared_pool.gpupool(token, "submit", "emoji", "prompt=a blue fish", "steps=2", "--detach")
    expect(page.locator("#receipts .receipt")).to_have_count(2, timeout=60_000)


def test_a_queued_job_goes_with_its_page_unless_it_is_to_stay(visit, own_pool):
    pool = own_pool(client_grace=2)
    token = pool.token("ada")
    page = visit(token, pool=pool).live()
    page.make("the first", steps=LONG)
    expect(page.job("the first").locator(".chip")).to_have_text("running")
    page.fill("it stays", duration=20)
    page.page.get_by_label("stay in the queue when this page is closed").check()
    page.button("Make the picture").click()
    expect(page.job("it stays").locator(".chip")).to_have_text("queued")
    page.page.get_by_label("stay in the queue when this page is closed").uncheck()
    page.make("it goes", duration=21)
    expect(page.job("it goes").locator(".chip")).to_have_text("queued")
    page.page.close()
    gone = wait_until(lambda: pool.ask(token, "v1/receipts")["receipts"], "a job goes")
    assert [(one["declared_ms"], one["outcome"]) for one in gone] == [(21_000, "cancelled")]
    states = {job["declared_ms"]: job["state"] for job in pool.ask(token, "v1/jobs")["jobs"]}
    assert states == {60_000: "running", 20_000: "queued"}


# ---- The window --------------------------------------------------------------------------------


def countdown_seconds(text):
    hours, minutes, rest = map(int, re.search(r"in (\d+):(\d\d):(\d\d) ", text).groups())
    return 3600 * hours + 60 * minutes + rest


def test_the_countdown_runs_with_the_pools_clock(visit, token):
    page = visit(token).live()
    window = page.locator("#window-text")
    expect(window).to_have_text(
        "No window is open: yours opens with your next job and lasts 24:00:00 (h:mm:ss).")
    page.make("a red heart")
    expect(window).to_contain_text("The window resets in")
    expect(page.receipt("a red heart")).to_be_visible(timeout=60_000)
    first = countdown_seconds(window.inner_text())
    assert 86_000 < first <= 86_400
    # A clock of this device that is wrong by an hour changes nothing.
    wrong = visit(token)
    wrong.page.add_init_script(
        "const real = Date.now.bind(Date); Date.now = () => real() + 3600e3;")
    wrong.live()
    expect(wrong.locator("#window-text")).to_contain_text("The window resets in")
    there = countdown_seconds(wrong.locator("#window-text").inner_text())
    here = countdown_seconds(window.inner_text())
    assert abs(there - here) <= 1
    expect(window).not_to_contain_text(re.search(r"[\d:]+:\d\d ", window.inner_text())[0])


def test_a_window_that_ends_is_said_to_be_over_and_the_next_job_opens_one(visit, own_pool):
    pool = own_pool(window=8)
    page = visit(pool.token("ada"), pool=pool)
    page.page.add_init_script("""
      window.said = [];
      new MutationObserver(() => {
        const text = document.getElementById('window-text')?.textContent;
        if (text && text !== window.said.at(-1)) window.said.push(text);
      }).observe(document, {childList: true, subtree: true, characterData: true});""")
    page.live()
    page.make("a red heart")
    window = page.locator("#window-text")
    expect(window).to_contain_text("The window resets in 0:00:0")
    expect(window).to_contain_text("opens", timeout=30_000)
    expect(page.locator("#quota-used")).to_have_text("0.0 s")
    page.make("a tree")
    expect(window).to_contain_text("The window resets in 0:00:0", timeout=30_000)
    said = page.page.evaluate("window.said")
    assert not any("0:00:00" in text for text in said), said


# ---- Who one is --------------------------------------------------------------------------------


def use_token(page, token, on_device=False):
    page.locator("#token-summary").click()
    page.page.get_by_label("Token", exact=True).fill(token)
    page.page.get_by_label("keep it on this device").set_checked(on_device)
    page.button("Use this token").click()


def test_a_token_is_used_kept_and_forgotten(visit, token, user):
    page = visit().live()
    expect(page.locator("#you-account")).to_have_text(re.compile(r"address:127\.0\.0\.1"))
    use_token(page, token)
    expect(page.locator("#you-account")).to_have_text(f"user:{user}")
    expect(page.locator("#you-how")).to_contain_text(f"recognised by token for {user}, key main")
    page.page.reload()
    expect(page.locator("#you-account")).to_have_text(f"user:{user}")
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#you-account")).to_have_text(re.compile(r"address:127\.0\.0\.1"))
    use_token(page, token, on_device=True)
    expect(page.locator("#you-account")).to_have_text(f"user:{user}")
    other.reload()
    expect(other.locator("#you-account")).to_have_text(f"user:{user}")
    page.locator("#token-summary").click()
    page.button("Forget it").click()
    expect(page.locator("#you-account")).to_have_text(re.compile(r"address:127\.0\.0\.1"))
    kept = page.page.evaluate("[sessionStorage, localStorage].map(one => one['gpupool.token'])")
    assert kept == [None, None]


def test_a_bad_token_is_told_and_is_not_taken_for_nobody(visit, token):
    page = visit(token, expected=[401]).live()
    use_token(page, token[:-6] + "AAAAAA")
    alarm = page.page.get_by_role("alert").filter(has_text="The pool does not recognise you")
    expect(alarm).to_contain_text("the token is not signed by a key of this pool")
    expect(page.locator("#you-account")).to_have_text("not recognised")
    expect(page.locator("#section-quota")).to_be_hidden()
    expect(page.prompt).to_be_hidden()
    page.button("Forget it").click()
    expect(alarm).to_be_hidden()
    expect(page.locator("#you-account")).to_have_text(re.compile(r"address:127\.0\.0\.1"))
    expect(page.prompt).to_be_visible()


def test_what_is_no_token_is_not_even_sent(visit):
    page = visit().live()
    use_token(page, "two words")
    expect(page.locator("#token-wrong")).to_contain_text("A token is one word")
    expect(page.locator("#you-account")).to_have_text(re.compile(r"address:127\.0\.0\.1"))


# ---- Operators ---------------------------------------------------------------------------------


@pytest.fixture
def resumed(shared_pool):
    """The node of the shared pool, which takes jobs again afterwards whatever happened."""
    yield
    shared_pool.gpupool(shared_pool.operator_token(), "resume", "node-1")


@pytest.mark.usefixtures("resumed")
def test_an_operator_drains_a_node_and_resumes_it(visit, token, shared_pool):
    theirs = visit(token).live()
    theirs.make("a slow one", steps=LONG)
    expect(theirs.job("a slow one").locator(".chip")).to_have_text("running")
    theirs.make("a patient heart", duration=20)
    page = visit(shared_pool.operator_token()).live()
    page.page.get_by_role("link", name="The pool").click()
    expect(page.locator("#queue tbody tr")).to_have_count(2)
    node = page.locator("#nodes .node").filter(has_text="node-1")
    expect(node.locator(".node-head .chip")).to_have_text("healthy")
    node.get_by_role("button", name="Drain node-1").click()
    expect(node.locator(".node-head .chip")).to_have_text("draining")
    expect(page.locator("#nodes-said")).to_contain_text("node-1")
    theirs.job("a slow one").get_by_role("button", name=re.compile("Cancel")).click()
    expect(theirs.receipt("a slow one")).to_be_visible()
    expect(node.locator(".slots .chip")).to_have_text("free")
    expect(theirs.job("a patient heart").locator(".chip")).to_have_text("queued")
    node.get_by_role("button", name="Resume node-1").click()
    expect(node.locator(".node-head .chip")).to_have_text("healthy")
    expect(theirs.receipt("a patient heart")).to_be_visible(timeout=60_000)
    expect(page.locator("#queue tbody tr")).to_have_count(0)


def test_an_operator_cancels_anybodys_job_only_when_sure(visit, token, shared_pool):
    theirs = visit(token).live()
    theirs.make("an endless one", steps=LONG)
    page = visit(shared_pool.operator_token()).live()
    page.page.get_by_role("link", name="The pool").click()
    row = page.locator("#queue tbody tr")
    row.get_by_role("button", name=re.compile("Cancel job")).click()
    expect(row).to_have_count(1)
    row.get_by_role("button", name=re.compile("Really cancel")).click()
    expect(theirs.receipt("an endless one").locator(".chip")).to_have_text("cancelled")
    expect(row).to_have_count(0)


def test_an_operator_sees_refusals_audits_and_runs_any_command(visit, token, shared_pool, user):
    theirs = visit(token, expected=[422]).live()
    theirs.make("too long", duration=200)
    expect(theirs.locator(".refusal")).to_be_visible()
    page = visit(shared_pool.operator_token(), expected=[400]).live()
    page.page.get_by_role("link", name="The pool").click()
    row = page.locator("#refused tbody tr").filter(has_text="illegal_duration")
    expect(row).to_be_visible()
    page.button("Audit now").click()
    expect(page.locator("#audit-said")).to_contain_text("every invariant holds")
    expect(page.locator("#audit-state")).to_contain_text("The books add up")
    line = page.page.get_by_label("Any operator's command")
    line.fill("help")
    line.press("Enter")
    expect(page.locator("#operate-answer table")).to_contain_text("drain NODE")
    line.fill("no-such-command")
    line.press("Enter")
    expect(page.locator("#operate-said")).to_contain_text("there is no such command")
    line.fill(f'grant {user} 60 --why "a test of the page"')
    line.press("Enter")
    expect(theirs.locator("#quota-credits")).to_contain_text("60.0 s of credits")
    expect(theirs.locator("#quota-left")).to_have_text("210.0 s")


def test_an_announcement_reaches_every_page_and_goes(visit, token, shared_pool):
    theirs = visit(token).live()
    page = visit(shared_pool.operator_token()).live()
    page.page.get_by_role("link", name="The pool").click()
    page.page.get_by_label("A word to everybody").fill("the pool rests at noon")
    page.button("Announce").click()
    for one in (page, theirs):
        expect(one.locator("#announcement")).to_have_text("the pool rests at noon")
    page.button("Clear").click()
    for one in (page, theirs):
        expect(one.locator("#announcement")).to_have_text("")


def test_charts_timeline_and_changes_have_their_tables(visit, token, shared_pool):
    theirs = visit(token).live()
    theirs.make("for the charts")
    expect(theirs.receipt("for the charts")).to_be_visible(timeout=60_000)
    page = visit(shared_pool.operator_token()).live()
    page.page.get_by_role("link", name="The pool").click()
    expect(page.locator("#timeline rect").first).to_be_attached()
    page.locator("#timeline summary").click()
    expect(page.locator("#timeline table")).to_contain_text("emoji")
    expect(page.locator("#chart-busy svg")).to_be_visible()
    page.locator("#chart-waits summary").click()
    expect(page.locator("#chart-waits table")).to_be_visible()
    page.button("last day").click()
    expect(page.locator("#chart-busy")).to_contain_text("in the last day")
    expect(page.locator("#all-changes")).not_to_be_empty()


def test_the_skip_link_leaves_the_view_as_it_is(visit, shared_pool):
    page = visit(shared_pool.operator_token()).live()
    page.page.get_by_role("link", name="The pool").click()
    expect(page.locator("#view-pool")).to_be_visible()
    page.page.get_by_role("link", name="Skip to the content").press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect(page.locator("#view-pool")).to_be_visible()


def test_who_is_no_operator_sees_nothing_of_the_pools_view(visit, token):
    page = visit(token)
    page.url += "#pool"
    page.live()
    expect(page.locator("#view-yours")).to_be_visible()
    expect(page.locator("#view-pool")).to_be_hidden()
    expect(page.locator("#views")).to_be_hidden()


# ---- What goes wrong ---------------------------------------------------------------------------


def test_the_page_survives_kill_and_restart_of_the_pool_and_goes_on(visit, own_pool):
    # Whose page is gone for 3 s loses its place in the queue: the page has to stand up for it.
    pool = own_pool(client_grace=3)
    token = pool.token("ada")
    page = visit(token, pool=pool, loses_pool=True).live()
    page.make("before")
    page.expect_picture("before")
    page.make("the one that runs", steps=500)
    expect(page.job("the one that runs").locator(".chip")).to_have_text("running")
    page.make("the one that waits", duration=20)
    expect(page.job("the one that waits").locator(".chip")).to_have_text("queued")
    pool.kill()
    expect(page.locator("#connection-text")).to_contain_text(re.compile("reconnecting"))
    expect(page.picture("before")).to_be_visible()
    pool.start()
    page.expect_live()
    expect(page.receipt("the one that runs").locator(".chip")).to_have_text(
        "succeeded", timeout=120_000)
    page.expect_picture("the one that waits", seconds=120)
    page.make("after")
    page.expect_picture("after")
    audit = pool.gpupool(pool.operator_token(), "audit")
    assert not audit["rows"], audit


def test_a_request_that_meets_a_dead_pool_goes_again_and_is_one_job(visit, own_pool):
    pool = own_pool()
    token = pool.token("ada")
    page = visit(token, pool=pool, loses_pool=True).live()
    page.fill("sent twice")
    pool.kill()
    page.button("Make the picture").click()
    expect(page.locator("#make-submit")).to_have_attribute("aria-disabled", "true")
    pool.start()
    page.expect_picture("sent twice", seconds=120)
    assert len(pool.ask(token, "v1/receipts")["receipts"]) == 1


def test_a_reload_in_the_middle_of_a_job_loses_nothing(visit, token):
    page = visit(token).live()
    page.make("a slow whale", steps=600)
    expect(page.job("a slow whale").locator(".chip")).to_have_text("running")
    page.page.reload()
    page.expect_live()
    expect(page.job("a slow whale")).to_be_visible()
    page.expect_picture("a slow whale")
