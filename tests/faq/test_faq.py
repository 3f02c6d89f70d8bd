#!/usr/bin/env python3
"""docs/faq.md: each question is played on a real pool, its numbers are checked by arithmetic, and
the page shows what the programs print today. A heading without a test is a failure, and so is a test
without a heading: a test is named after its question, and goes on with the answer.

usage: ./test_faq.py [pytest's arguments]     GPUPOOL_FAQ_REWRITE=1: writes the page's blocks anew
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

SKIPPED = 77  # as ctest knows it
HERE = pathlib.Path(__file__).resolve().parent


def main():
    """Hands over to pytest: with this Python, or else with the system's, which Debian's package is for."""
    sys.path.insert(0, str(HERE))
    import faq_pool
    needed = "gpupoold gpupool gpupool-supervisor gpupool-diffusion gpupool-command"
    missing = [name for name in needed.split() if not (faq_pool.pool.BUILD / name).exists()]
    if missing:
        print(f"skipped: not built in {faq_pool.pool.BUILD}: {' '.join(missing)}")
        return SKIPPED
    for python in (sys.executable, "/usr/bin/python3"):
        if shutil.which(python) and subprocess.run([python, "-c", "import pytest"], cwd="/",
                                                   stderr=subprocess.DEVNULL).returncode == 0:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            os.execv(python, [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-ra",
                              "--rootdir", str(HERE), __file__, *sys.argv[1:]])
    print("skipped: no Python here has pytest (Debian: python3-pytest)")
    return SKIPPED


if __name__ == "__main__":
    sys.exit(main())

import pytest  # noqa: E402

from faq_pool import (  # noqa: E402
    ANONYMOUS_MS, DAY_MS, DECLARED_MS, FREE_LONGEST_MS, FREE_MS, OCCUPANCY_MS, PRO_MS, Pool,
    moment_ms, now_ms, pool, steady_ms)
from page import AMOUNT, questions  # noqa: E402

TEST_S_MAX = 60  # above every wait inside a test


@pytest.fixture(autouse=True)
def no_test_waits_for_ever():
    def give_up(number, frame):
        raise AssertionError(f"the test took more than {TEST_S_MAX} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TEST_S_MAX)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def new_pool():
    """Makes pools, which end with the test."""
    pools = []

    def make(**options):
        pools.append(Pool(**options))
        return pools[-1].wait_for_start()

    yield make
    for one in pools:
        one.stop()


@pytest.fixture
def faq(new_pool):
    return new_pool()


@pytest.fixture
def question(request):
    """The one that the test is named after."""
    (found,) = [one for one in questions() if request.node.name.startswith(f"test_{one.slug}_")]
    return found


def ms(text):
    """Of an amount such as "59.4 s"."""
    return round(float(text.removesuffix(" s")) * 1000)


def amounts(pattern, text):
    """The amounts in the one place of the text that reads like this; A stands for an amount."""
    found = re.findall(pattern.replace("A", f"({AMOUNT})"), " ".join(text.split()))
    assert len(found) == 1, f"{pattern} in\n{text}"
    return [ms(one) for one in ([found[0]] if isinstance(found[0], str) else found[0])]


def check_receipt(receipt, factor=1):
    """charged = ran x factor, at most what was held; charged + given back = held = declared x factor."""
    assert receipt["factor"] == factor
    assert receipt["held_ms"] == receipt["declared_ms"] * factor
    assert receipt["charged_ms"] == min(receipt["held_ms"], receipt["ran_ms"] * factor)
    assert receipt["charged_ms"] + receipt["given_back_ms"] == receipt["held_ms"]


def check_balance(balance, used, held, allowance=FREE_MS):
    assert (balance["used_ms"], balance["held_ms"], balance["allowance_ms"]) == (used, held, allowance)
    assert balance["left_ms"] == allowance - used - held


# ---- The page and the tests ------------------------------------------------------------------


def test_every_question_has_one_test_and_every_test_a_question():
    tests = [name for name in globals() if re.match("test_(?!every_)", name)]
    found = {one.heading: [name for name in tests if name.startswith(f"test_{one.slug}_")]
             for one in questions()}
    assert {heading: names for heading, names in found.items() if len(names) != 1} == {}
    assert [name for name in tests if [name] not in found.values()] == []


def test_every_answer_has_some_words_and_one_block_of_output():
    for one in questions():
        assert 50 < len(one.words) < 1200, one.heading
        assert len(one.blocks) == 1 and one.commands, one.heading
        assert all(text.strip() for text in one.outputs()), one.heading


# ---- The questions ---------------------------------------------------------------------------


def test_is_it_charging_60_s_instead_of_real_time_no_it_charges_what_ran(faq, question):
    ada, bob = faq.token("ada"), faq.token("bob")
    # The test's own clock is around it: the picture ran within the time that the command took.
    began = steady_ms()
    receipt = faq.draw(ada)
    took = steady_ms() - began
    check_receipt(receipt)
    assert receipt["declared_ms"] == receipt["held_ms"] == DECLARED_MS
    assert 0 < receipt["charged_ms"] <= took < DECLARED_MS
    check_balance(faq.balance(ada), used=receipt["charged_ms"], held=0)

    # And no shorter than it was seen to run: from when it was there to when it was told to end.
    asked = steady_ms()
    program = faq.begin(bob).wait_for_start()
    ran_from = steady_ms()
    check_balance(faq.balance(bob), used=0, held=DECLARED_MS)
    ran_to = steady_ms()
    program.end()
    charged = faq.finish(bob, program.job)["charged_ms"]
    assert ran_to - ran_from <= charged <= steady_ms() - asked

    said = question.play(faq, ada)[0]
    declared, ran, held, charged, back = amounts(
        "declared A, ran A x 1, held A, charged A, A given back", said)
    assert (declared, held) == (DECLARED_MS, DECLARED_MS)
    assert ran == charged and charged + back == held
    assert amounts("charged by this receipt: A", said) == [receipt["charged_ms"]]


def test_why_does_the_bar_read_0_1_2_0_4_it_is_used_held_and_left(faq, question):
    ada = faq.token("ada")
    check_balance(faq.balance(ada), used=0, held=0)
    first = faq.draw(ada)["charged_ms"]
    check_balance(faq.balance(ada), used=first, held=0)
    program = faq.begin(ada).wait_for_start()
    check_balance(faq.balance(ada), used=first, held=DECLARED_MS)

    said = question.play(faq, ada, varies=[r"(?<=up to )\d+\.\d s"])[0]
    used, held, left, allowance = amounts("█ A used ▒ A held ░ A left of A", said)
    assert used + held + left == allowance == FREE_MS
    large, xlarge = amounts("large factor 1 up to A xlarge factor 2 up to A", said)
    assert large == left and 0 <= left / 2 - xlarge < 100
    # What is used is rounded up, and what is left down: by less than the tenth that is shown.
    assert (held, 0 <= used - first < 100) == (DECLARED_MS, True)
    (bar,) = re.findall("[█▒░]{10,}", said)
    for glyph, amount in {"█": used, "▒": held, "░": left}.items():
        assert abs(bar.count(glyph) - len(bar) * amount / allowance) <= 1, bar

    program.end()
    second = faq.finish(ada, program.job)["charged_ms"]
    check_balance(faq.balance(ada), used=first + second, held=0)


def test_is_the_limit_three_images_no_it_is_seconds(faq, question):
    ada, bob = faq.token("ada"), faq.token("bob")
    ran = [faq.draw(ada)["charged_ms"] for _ in range(3)]
    check_balance(faq.balance(ada), used=sum(ran), held=0)
    said = question.play(faq, ada)[0]
    used, held, left, _ = amounts("█ A used ▒ A held ░ A left of A", said)
    assert 0 <= used - sum(ran) < 100 and held == 0
    declare, more = map(int, re.search(r"declare (\d+) s and (\d+) more fit", said).groups())
    assert declare == -(-max(ran) * 5 // 4000) and more == (FREE_MS - sum(ran)) // (declare * 1000)
    assert more > 3 and faq.draw(ada)["outcome"] == "succeeded"

    # At once and without a word it is three: 210 = 3 x 60 + 30. With less declared it is four.
    for _ in range(3):
        faq.begin(bob)
    refused = faq.ask("submit", "emoji", "prompt=a star", token=bob, code=3)["refused"]
    assert (refused["code"], refused["want"], refused["have"]) == (
        "quota_exceeded", DECLARED_MS, FREE_MS - 3 * DECLARED_MS)
    faq.begin(bob, "--duration", 30)
    check_balance(faq.balance(bob), used=0, held=FREE_MS)


def test_did_the_limits_change_secretly_what_changed_since_last_week_all_is_on_record(faq, question):
    ada, pro = faq.token("ada"), faq.token("pat", "--tier", "pro")
    root = faq.token("root", "--role", "operator")
    began = now_ms()
    assert faq.ask("changes", token=ada)["changes"] == []
    faq.reload("allowance_s = 210", "allowance_s = 180")
    between = now_ms()
    done = faq.run("grant", "ada", "10m", "--why", "for the workshop", token=root)
    assert done.returncode == 0, done.stdout
    question.play(faq, ada)

    tier, account = sorted(faq.ask("changes", token=ada)["changes"], key=lambda one: one["at"])
    assert (tier["kind"], tier["subject"], tier["before"], tier["after"]) == (
        "tier", "free", "210.0 s", "180.0 s")
    assert (account["subject"], account["before"], account["after"], account["who"], account["why"]) == (
        "user:ada", "0.0 s", "600.0 s", "operator user:root", "for the workshop")
    assert began <= moment_ms(tier["at"]) <= between <= moment_ms(account["at"]) <= now_ms()
    # They hold from then on, and are told to whom they concern.
    balance = faq.balance(ada)
    assert (balance["allowance_ms"], balance["left_ms"], balance["credits_ms"]) == (
        180_000, 180_000, 600_000)
    assert faq.balance(pro)["allowance_ms"] == PRO_MS
    assert faq.ask("changes", token=pro)["changes"] == []
    assert faq.ask("changes", "--since", "2999-01-01", token=ada)["changes"] == []


def test_why_am_i_refused_with_quota_left_all_that_is_declared_has_to_fit(faq, question):
    ada = faq.token("ada")
    programs = [faq.begin(ada) for _ in range(3)]
    refusal, story = question.play(faq, ada)
    requested, left, held, used, allowance = amounts(
        r"A requested \(large, factor 1\), A left, A held and A used of A;", refusal)
    assert (requested, held, used, allowance) == (DECLARED_MS, 3 * DECLARED_MS, 0, FREE_MS)
    assert left == allowance - held - used < requested
    assert amounts("up to A would be admitted now: try --duration 30", refusal) == [left]
    assert amounts(r"refused, quota_exceeded: A requested \(large, factor 1\), A left,", story) == [
        requested, left]
    for told in (refusal, story):
        assert ("[[tiers]] free.allowance_s = 210; 60.0 s declared by [[apps]] "
                "emoji.default_duration_s") in " ".join(told.split())
    # The hint is right to the millisecond, and so is the moment when a hold frees.
    over = faq.ask("quote", "emoji", "--duration", "30.001", token=ada, code=3)["refused"]
    assert (over["code"], over["have"]) == ("quota_exceeded", left)
    first = programs[0].wait_for_start()
    balance = faq.balance(ada)
    leased = moment_ms(faq.ask("cancel", first.job, token=ada)["receipt"]["leased_at"])
    longest_ms = DECLARED_MS + OCCUPANCY_MS - 300_000
    # The ledger hears of a lease a moment after the broker made it.
    assert 0 <= moment_ms(balance["held_until"]) - (leased + longest_ms) < 1000
    assert faq.balance(ada)["left_ms"] > left
    assert faq.ask("submit", "emoji", "prompt=a star", "--duration", "30", "--detach", token=ada)["job"]


def test_why_did_xlarge_cost_double_it_had_two_slots(faq, question):
    ada, bob = faq.token("ada"), faq.token("bob")
    price = faq.quote(ada, "--size", "xlarge")
    assert price["cost_ms"] == 2 * DECLARED_MS
    receipt = faq.draw(ada, output="two.png", size="xlarge", seed=7)
    check_receipt(receipt, factor=2)
    assert receipt["charged_ms"] == 2 * receipt["ran_ms"] > 0
    check_balance(faq.balance(ada), used=2 * receipt["ran_ms"], held=0)
    said = question.play(faq, ada)[0]
    declared, ran, held, charged, back = amounts(
        "declared A, ran A x 2, held A, charged A, A given back", said)
    assert (held, charged) == (2 * declared, 2 * ran) and charged + back == held

    check_receipt(faq.draw(bob, output="one.png", seed=7))
    assert (faq.folder / "one.png").read_bytes() == (faq.folder / "two.png").read_bytes()


def test_when_exactly_does_it_reset_24_hours_after_the_first_job(faq, question, new_pool):
    ada = faq.token("ada")
    assert faq.balance(ada)["resets_at"] is None
    first = faq.draw(ada)
    assert faq.draw(ada)["admitted_at"] > first["admitted_at"]
    balance = faq.balance(ada)
    assert balance["window_opened_at"] == first["admitted_at"]
    assert moment_ms(balance["resets_at"]) == moment_ms(first["admitted_at"]) + DAY_MS
    said = question.play(faq, ada)[0]
    hours, minutes, seconds, at = re.search(
        r"resets in (\d+):(\d\d):(\d\d) \(h:mm:ss\), at (\S+)", " ".join(said.split())).groups()
    # Rounded up to whole seconds, both: nobody comes a moment too early.
    assert 0 <= moment_ms(at) - moment_ms(balance["resets_at"]) < 1000
    left_ms = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 1000
    assert DAY_MS - 60_000 < left_ms <= DAY_MS

    # With windows of 2 s it can be watched: at that moment all is there again.
    short = new_pool(window_s=2)
    ada = short.token("ada")
    short.draw(ada)
    before = short.balance(ada)
    if before["resets_at"] is not None:  # a slow machine may have come too late for it
        assert before["used_ms"] > 0
    after = pool.wait_until(
        lambda: (now := short.balance(ada))["resets_at"] is None and now, "the window resets", 20)
    check_balance(after, used=0, held=0)
    opened = moment_ms(short.receipts(ada)[0]["admitted_at"])
    assert moment_ms(after["at"]) >= opened + 2_000


def test_i_am_pro_why_does_it_treat_me_as_nobody_no_token_came(faq, question):
    pro, root = faq.token("ada", "--tier", "pro"), faq.token("root", "--role", "operator")
    said = question.play(faq)[0]
    assert "there is none" in said and "address:127.0.0.1/32" in said and "anonymous" in said
    assert "Nothing is wrong, but look at: token, identity." in said
    assert faq.balance(None)["allowance_ms"] == ANONYMOUS_MS
    with_token = faq.ask("quota", token=pro)
    assert (with_token["caller"]["tier"], with_token["balance"]["allowance_ms"]) == ("pro", PRO_MS)
    # One that is no good is refused, and no request of its bearer is anonymous.
    assert faq.run("token", "revoke", "--user", "ada", token=root).returncode == 0
    refused = faq.ask("generate", "a star", token=pro, code=3)["refused"]
    assert refused["code"] == "unauthenticated"
    check_balance(faq.balance(None), used=0, held=0, allowance=ANONYMOUS_MS)
    problem = faq.ask("doctor", token=pro, code=3)
    assert problem["problem"] == "token"
    assert "the pool does not take it" in problem["checks"][1]["text"]
    # A token that names no tier is of the default one, until an operator says otherwise.
    bob = faq.token("bob")
    assert faq.balance(bob)["tier"] == "free"
    assert faq.run("tier", "bob", "pro", token=root).returncode == 0
    assert faq.balance(bob)["allowance_ms"] == PRO_MS


def test_what_did_that_failed_run_cost_me_what_it_ran_or_nothing(faq, question):
    ada = faq.token("ada")
    began = steady_ms()
    program = faq.begin(ada).wait_for_start()
    check_balance(faq.balance(ada), used=0, held=DECLARED_MS)
    program.end(code=3)
    own = faq.finish(ada, program.job, code=4)
    check_receipt(own)
    assert (own["outcome"], own["cause"], own["exit_code"]) == ("failed", "program_failed", 3)
    assert 0 < own["charged_ms"] == own["ran_ms"] <= steady_ms() - began
    lost = faq.begin(ada).wait_for_start()
    faq.kill_executor_of(lost)
    pools = faq.finish(ada, lost.job, code=4)
    assert (pools["outcome"], pools["cause"]) == ("failed", "executor_crashed")
    assert (pools["charged_ms"], pools["given_back_ms"]) == (0, DECLARED_MS)
    check_balance(faq.balance(ada), used=own["charged_ms"], held=0)
    said = question.play(faq, ada)[0]
    assert amounts("charged by these 2 receipts: A", said) == [own["charged_ms"]]
    assert ("not run again: [[apps]] train.retries = 0; the pool's fault: nothing is charged"
            in " ".join(said.split()))

    # One that never ran costs nothing, either.
    holders = faq.take_all_slots(faq.token("bob"))
    waits = faq.begin(ada)
    check_balance(faq.balance(ada), used=own["charged_ms"], held=DECLARED_MS)
    assert faq.ask("cancel", waits.job, token=ada)["receipt"]["charged_ms"] == 0
    check_balance(faq.balance(ada), used=own["charged_ms"], held=0)
    for holder in holders:
        holder.end()


def test_how_long_until_my_turn_at_worst_until_the_promised_start(faq, question):
    ada, bob, eve = faq.token("ada"), faq.token("bob"), faq.token("eve")
    holders = faq.take_all_slots(bob)

    def is_promised(answer, wait_ms):
        # The ledger, whose clock it is that we see, answers a moment after the broker.
        seen_ms = moment_ms(answer["promised_start"]) - moment_ms(answer["balance"]["at"])
        return 0 <= wait_ms - seen_ms < 5_000

    # Two slots, of which an xlarge job takes both: docs/scheduling.md, 2 x D x (older jobs + 1).
    assert is_promised(faq.quote(ada), 2 * OCCUPANCY_MS)
    older = faq.begin(eve)
    quote = faq.quote(ada)
    assert quote["jobs_ahead"] == 1 and is_promised(quote, 2 * OCCUPANCY_MS * 2)
    said = question.play(faq, ada, varies=[r"(?<=likely )a start in [\d:]+( to [\d:]+)?"])[0]
    assert "1 job waits before it" in said
    hours, minutes, seconds = map(int, re.search(r"in (\d+):(\d\d):(\d\d) \(h:mm:ss\)", said).groups())
    assert 0 <= 4 * OCCUPANCY_MS - (hours * 3600 + minutes * 60 + seconds) * 1000 < 5_000
    # A promise that is too late for its caller is no promise, and the number is the same.
    refused = faq.ask("generate", "a star", "--max-wait", "60", token=ada, code=3)["refused"]
    assert (refused["code"], refused["want"], refused["have"]) == (
        "promise_too_late", 60_000, 4 * OCCUPANCY_MS)
    assert "1 job waits before it" in refused["sentence"]
    assert refused["sentence"].endswith("2 x 337.0 s x (1 + 1) = 1348.0 s")

    job = faq.ask("submit", "emoji", "prompt=a star", "--detach", token=ada)["job"]
    (queued,) = faq.ask("jobs", token=ada)["jobs"]
    holders[0].end()
    older.end()
    receipt = faq.finish(ada, job)
    assert moment_ms(receipt["leased_at"]) <= moment_ms(receipt["promised_start"])
    assert receipt["promised_start"] == queued["promised_start"]
    assert moment_ms(queued["promised_start"]) - moment_ms(receipt["admitted_at"]) <= 4 * OCCUPANCY_MS


def test_what_must_i_declare_to_get_the_most_pictures_today_what_it_advises(faq, question):
    ada = faq.token("ada")
    assert faq.balance(ada)["advice"] is None
    ran = [faq.draw(ada)["ran_ms"] for _ in range(4)]
    said = question.play(faq, ada, varies=[r"(?<=left )\d+\.\d s(?= of)"])[0]
    left = FREE_MS - sum(ran)
    words = re.search(rf"your last 4 runs of emoji took ({AMOUNT}) at most: declare (\d+) s and (\d+) "
                      "more fit", " ".join(said.split()))
    assert 0 <= ms(words[1]) - max(ran) < 100
    declare, more = int(words[2]), int(words[3])
    assert declare == -(-max(ran) * 5 // 4000)  # a quarter more, in whole seconds
    assert more == left // (declare * 1000) > left // DECLARED_MS  # than with 60 s declared
    assert amounts("left A of 210.0 s while it is held", said) == [(left - 10_000) // 100 * 100]
    # It fits, and only what it ran is gone: the next one has as much room, but for that.
    receipt = faq.draw(ada, duration=declare)
    check_receipt(receipt)
    balance = faq.balance(ada)
    check_balance(balance, used=sum(ran) + receipt["ran_ms"], held=0)
    assert balance["advice"]["fits"] >= more - 1


def test_why_was_my_duration_illegal_its_cost_was_more_than_the_tier_allows(faq, question):
    ada, pro = faq.token("ada"), faq.token("pat", "--tier", "pro")
    said = question.play(faq, ada)[0]
    requested, longest, spend = amounts(
        r"A requested \(xlarge, factor 2\), A is the longest allowed: tier free may spend A on one "
        "request, and size xlarge counts 2-fold", said)
    assert (requested, spend, longest) == (100_000, FREE_LONGEST_MS, FREE_LONGEST_MS // 2)
    assert requested * 2 > spend
    for duration, size, longest in ((90.001, "xlarge", 90_000), (180.001, "large", 180_000)):
        refused = faq.ask("quote", "emoji", "--duration", duration, "--size", size, token=ada,
                          code=3)["refused"]
        assert (refused["code"], refused["want"], refused["have"]) == (
            "illegal_duration", round(duration * 1000), longest)
        assert refused["rule"] == "[[tiers]] free.longest_s = 180" + (
            " / [[sizes]] xlarge.factor = 2" if size == "xlarge" else "")
        fits = faq.quote(ada, "--duration", longest // 1000, "--size", size)
        assert fits["cost_ms"] == FREE_LONGEST_MS
    # Where both the app and the tier object, the shorter one is told.
    refused = faq.ask("quote", "emoji", "--duration", 400, token=pro, code=3)["refused"]
    assert (refused["want"], refused["have"]) == (400_000, 300_000)


def test_is_the_pool_broken_or_is_it_me_the_doctor_names_the_first_problem(new_pool, question):
    # Nodes that are not there count at once, not only some time after the start.
    faq = new_pool(rejoin_s=0.1)
    ada, root = faq.token("ada"), faq.token("root", "--role", "operator")
    assert faq.ask("doctor", "--app", "emoji", token=ada)["problem"] is None
    assert faq.run("drain", "node-1", token=root).returncode == 0
    pool.wait_until(lambda: faq.run("doctor", "--app", "emoji", token=ada).returncode == 3,
                    "the pool takes no jobs", 20)
    said = question.play(faq, ada)[0]
    assert "an operator is draining" in said and "The problem is the pool." in said
    assert faq.run("resume", "node-1", token=root).returncode == 0
    pool.wait_until(lambda: faq.run("doctor", "--app", "emoji", token=ada).returncode == 0,
                    "the pool takes jobs", 20)

    def problem(*options, token=ada, code=3):
        return faq.ask("doctor", *options, token=token, code=code)["problem"]

    # The caller's own: a file that is not there, an app that is not there, all that may be had.
    assert problem("--token-file", "none.token", code=2) == "token"
    assert problem("--app", "emojis") == "app"
    for _ in range(3):
        faq.begin(ada)
    assert problem("--app", "emoji") == "quota"
    faq.begin(ada, "--duration", 30)
    assert problem("--app", "emoji") == "jobs"
    # And the pool's: nobody listens at an endpoint that was this one's a moment before.
    faq.daemon.kill()
    faq.daemon.wait()
    assert problem(code=5) == "pool"


def test_how_do_i_move_to_a_dedicated_slot_by_a_reservation_or_a_worker(new_pool, question):
    reservation, own = question.settings
    faq = new_pool(slots=3, worker_address="127.0.0.1:0", more=own)
    ada, bob, eve = faq.token("ada"), faq.token("bob"), faq.token("eve")
    root = faq.token("root", "--role", "operator")
    faq.reload("[[tiers]]", f"{reservation}\n[[tiers]]")

    def slots_of(column):
        return sorted(one[column] for one in faq.ask("nodes", token=root)["rows"])

    pool.wait_until(lambda: slots_of("reservation") == ["", "", "ada"], "one slot is ada's", 20)
    # Others fill what is left and wait; ada does not, and none of them ever starts on her slot.
    holders = faq.take_all_slots(bob)
    waits = faq.begin(eve)
    assert faq.quote(eve)["jobs_ahead"] == 1
    said = question.play(faq, ada)[0]
    assert "at once; nobody waits before it" in said
    assert faq.draw(ada)["outcome"] == "succeeded"
    (queued,) = faq.ask("jobs", token=eve)["jobs"]
    assert (queued["job"], queued["state"]) == (waits.job, "queued")

    # A machine of hers: it runs what she asks for there, and nobody else may ask for it.
    faq.add_worker("ada-box", "ada-box", own)
    assert faq.run("tier", "ada", "ada", token=root).returncode == 0
    pool.wait_until(lambda: "ada-box" in slots_of("node"), "ada's machine has joined", 20)
    receipt = faq.draw(ada, app="emoji-ada")
    assert (receipt["node"], receipt["outcome"]) == ("ada-box", "succeeded")
    refused = faq.ask("generate", "a star", "--app", "emoji-ada", token=bob, code=3)["refused"]
    assert refused["code"] == "forbidden"
    for holder in holders:
        holder.end()
