"""The pure parts of the page, each by itself in the browser: amounts, times, words, the parser of
events, the clock, the state. They are asked for from the pool, as the page does.

`python3 test_modules.py` makes the environment that it needs and runs pytest on this file."""

import sys

if __name__ == "__main__":
    import environment

    sys.exit(environment.main(__file__))

import pytest


@pytest.fixture(scope="module")
def blank(browser, shared_pool):
    """Where modules can be imported; the page itself does not run here."""
    context = browser.new_context(timezone_id="UTC")
    page = context.new_page()
    page.goto(shared_pool.url + "icon.svg")
    yield page
    context.close()


def call(page, module, body, argument=None):
    """What `body` returns, a function's body with the module as m and the argument as x."""
    return page.evaluate(
        "async ([path, body, x]) => {"
        "  const m = await import(path);"
        "  return CALL(m, x);"
        "}".replace("CALL", f"((m, x) => {{ {body} }})"),
        [f"/{module}", body, argument])


# ---- Amounts: the same numbers as the pool's own texts (actors/describe.h) ----------------------


@pytest.mark.parametrize("ms,text", [
    (0, "0.0 s"), (60_000, "60.0 s"), (7_250, "7.25 s"), (4, "0.004 s"), (-1_500, "-1.5 s")])
def test_an_exact_amount_has_as_many_decimals_as_it_needs(blank, ms, text):
    assert call(blank, "format.js", "return m.seconds(x)", ms) == text


@pytest.mark.parametrize("used,held,left,allowance,texts", [
    (40_000, 60_000, 20_000, 120_000, ["40.0 s", "60.0 s", "20.0 s", "120.0 s"]),
    (511, 0, 209_489, 210_000, ["0.6 s", "0.0 s", "209.4 s", "210.0 s"]),
    (4, 0, 209_996, 210_000, ["0.1 s", "0.0 s", "209.9 s", "210.0 s"]),
    (1_234, 1_266, 207_500, 210_000, ["1.234 s", "1.266 s", "207.500 s", "210.000 s"])])
def test_used_held_and_left_add_up_as_they_are_shown(blank, used, held, left, allowance, texts):
    balance = {"used_ms": used, "held_ms": held, "left_ms": left, "allowance_ms": allowance}
    found = call(blank, "format.js", "return m.balanceTexts(x)", balance)
    assert [found[name] for name in ("used", "held", "left", "allowance")] == texts


def test_what_is_left_is_never_rounded_up_and_what_is_used_never_down(blank):
    assert call(blank, "format.js", "return [m.secondsUp(x), m.secondsDown(x)]", 1_001) == \
        ["1.1 s", "1.0 s"]


@pytest.mark.parametrize("ms,text", [
    (0, "0:00:00"), (-5, "0:00:00"), (1, "0:00:01"), (1_000, "0:00:01"), (86_398_001, "23:59:59"),
    (86_400_000, "24:00:00")])
def test_a_countdown_is_zero_only_when_nothing_remains(blank, ms, text):
    assert call(blank, "format.js", "return m.countdown(x)", ms) == text


def test_times_of_another_day_name_it(blank):
    noon = 1_795_262_400_000  # 2026-11-21T12:00:00Z
    found = call(blank, "format.js",
                 "return [m.moment(x, x + 1), m.moment(x, x + 864e5), m.moment(x, x + 4e10)]", noon)
    assert found == ["12:00:00", "21 Nov 12:00:00", "21 Nov 2026 12:00:00"]


@pytest.mark.parametrize("value,top", [(0, 1), (1, 1), (1.1, 2), (4_300, 5_000), (10_000, 10_000)])
def test_a_scale_ends_at_a_round_number(blank, value, top):
    assert call(blank, "format.js", "return m.niceCeiling(x)", value) == top


# ---- Words -------------------------------------------------------------------------------------

RECEIPT = {"declared_ms": 60_000, "ran_ms": 3_200, "factor": 1, "held_ms": 60_000,
           "charged_ms": 3_200, "given_back_ms": 56_800, "held_credits_ms": 0,
           "charged_credits_ms": 0, "credits_from": None}


def arithmetic(page, **changed):
    return call(page, "words.js", "return m.arithmetic(x)", RECEIPT | changed)


def test_a_receipt_spells_out_its_arithmetic(blank):
    assert arithmetic(blank) == "declared 60.0 s, ran 3.2 s x 1, held 60.0 s, charged 3.2 s, " \
        "56.8 s given back"


def test_the_arithmetic_of_odd_milliseconds_is_still_true(blank):
    assert arithmetic(blank, ran_ms=517, factor=2, held_ms=120_000, charged_ms=1_034,
                      given_back_ms=118_966) == \
        "declared 60.00 s, ran 0.52 s x 2, held 120.00 s, charged 1.04 s, 118.96 s given back"


def test_credits_are_a_part_of_the_arithmetic(blank):
    assert arithmetic(blank, held_credits_ms=10_000, charged_credits_ms=1_000,
                      credits_from="group:workshop").endswith(
        "; of the credits of group workshop were held 10.0 s and charged 1.0 s")


def test_a_charge_that_the_pool_owes_is_no_product(blank):
    assert arithmetic(blank, charged_ms=0, given_back_ms=60_000) == \
        "declared 60.0 s, ran 3.2 s x 1, held 60.0 s, charged 0.0 s, 60.0 s given back"


def test_a_receipt_has_one_number_for_its_charge(blank):
    receipt = RECEIPT | {"ran_ms": 517, "factor": 2, "held_ms": 120_000, "charged_ms": 1_034,
                         "given_back_ms": 118_966}
    assert call(blank, "words.js", "return m.chargeText(x)", receipt) == "1.04 s"


@pytest.mark.parametrize("outcome,cause,ran,note", [
    ("failed", "executor_crashed", 0, "the pool's fault: nothing is charged"),
    ("cancelled", None, 0, "it had not begun to run: nothing is charged"),
    ("expired", None, 60_000, "stopped at its declared end of 60.0 s")])
def test_a_receipt_says_why_it_ended_so_and_why_it_costs_nothing(blank, outcome, cause, ran, note):
    receipt = RECEIPT | {"outcome": outcome, "cause": cause, "ran_ms": ran, "charged_ms": ran,
                         "waited_ms": 100, "node": None, "detail": None, "exit_code": 0,
                         "signal": 0, "attempts": 1}
    assert note in call(blank, "words.js", "return m.receiptNotes(x)", receipt)


def test_a_queued_job_says_its_place_and_its_promise(blank):
    job = {"state": "queued", "position": 2, "promised_start": "2026-11-21T12:00:40.200Z",
           "likely_start": "2026-11-21T12:00:12.000Z", "likely_latest_start": None,
           "held_until": None, "attempt": 1, "notice": None}
    now = "Date.parse('2026-11-21T12:00:00Z')"
    assert call(blank, "words.js", f"return m.place(x, {now})", job) == \
        "position 2; starts by 12:00:41 at the latest, likely in 12 s"


@pytest.mark.parametrize("line,words", [
    ("drain node-2", ["drain", "node-2"]),
    ("  announce  'at noon'  ", ["announce", "at noon"]),
    ('grant ada 60 --why "a \\"good\\" one"', ["grant", "ada", "60", "--why", 'a "good" one']),
    ("", [])])
def test_an_operators_line_is_split_into_words(blank, line, words):
    assert call(blank, "words.js", "return m.splitWords(x)", line) == words


def test_a_quote_that_is_not_closed_is_said(blank):
    assert call(blank, "words.js",
                "try { m.splitWords('announce \"at noon'); } catch (e) { return e.message; }") == \
        "a quote is not closed"


# ---- The parser of events ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_events_are_read_whatever_pieces_they_come_in(blank, size):
    text = ": ping\n\nevent: quota\ndata: {\"a\": 1}\n\nevent: job\r\ndata: x\r\ndata: y\r\n\r\n" \
        "data: nameless\n\nevent: without data\n\nevent: cut\ndata: off"
    found = call(blank, "stream.js", """
        const seen = [];
        const parse = m.createParser((name, data) => seen.push([name, data]));
        for (let i = 0; i < x[0].length; i += x[1]) parse(x[0].slice(i, i + x[1]));
        return seen;""", [text, size])
    assert found == [["quota", '{"a": 1}'], ["job", "x\ny"], ["message", "nameless"]]


def test_an_event_without_an_end_is_not_read_for_ever(blank):
    assert call(blank, "stream.js", """
        const parse = m.createParser(() => {});
        try { for (let i = 0; i < 200; i += 1) parse('x'.repeat(65536)); return 'took it'; }
        catch (trouble) { return trouble.message; }""") == "an event is too large"


def test_the_waits_between_two_attempts_grow_to_a_bound_and_differ(blank):
    least, most = call(blank, "stream.js", """
        const ns = [0, 1, 2, 5, 50];
        return [ns.map((n) => m.backoff(n, () => 0)), ns.map((n) => m.backoff(n, () => 1))];""")
    assert most == [500, 1000, 2000, 15_000, 15_000]
    assert least == [250, 500, 1000, 7_500, 7_500]


# ---- The clock ---------------------------------------------------------------------------------


def test_the_clock_follows_the_pool_and_not_this_device(blank):
    found = call(blank, "clock.js", """
        let wall = 1e12; let steady = 0;
        const clock = m.createClock(() => wall, () => steady);
        const at = (ms) => new Date(ms).toISOString();
        const seen = [clock.isKnown()];
        clock.observe(at(1e12 + 5000));
        clock.observe(at(1e12 + 4000));   // was long on its way
        seen.push(clock.now() - wall);
        wall += 1000; steady += 1000;
        seen.push(clock.jumped(), clock.isKnown());
        wall += 3600e3; steady += 1000;   // set, or slept
        seen.push(clock.jumped(), clock.isKnown());
        clock.observe(at(1e12 + 7000));
        seen.push(clock.now() - 1e12, clock.jumped());
        return seen;""")
    assert found == [False, 5000, False, True, True, False, 7000, False]


# ---- The state ---------------------------------------------------------------------------------


def test_an_older_list_does_not_undo_a_newer_step(blank):
    found = call(blank, "state.js", """
        const job = (step, at) => ({job: 7, state: 'running', step, at});
        let state = m.reduce(m.initial, {type: 'jobs', data: {jobs: [job(1, 'a')]}});
        state = m.reduce(state, {type: 'job', data: job(5, 'c')});
        state = m.reduce(state, {type: 'jobs', data: {jobs: [job(2, 'b')]}});
        return state.jobs.map((one) => one.step);""")
    assert found == [5]


def test_a_job_that_is_over_does_not_come_back(blank):
    found = call(blank, "state.js", """
        const receipt = {job: 7, ended_at: '2026-11-21T12:00:00.000Z', account: 'user:ada'};
        let state = m.reduce(m.initial, {type: 'job', data: {job: 7, state: 'running', at: 'a'}});
        state = m.reduce(state, {type: 'done', data: {receipt, balance: null}});
        state = m.reduce(state, {type: 'job', data: {job: 7, state: 'running', at: 'b'}});
        state = m.reduce(state, {type: 'jobs', data: {jobs: [{job: 7, at: 'c'}]}});
        return [state.jobs.length, state.receipts.length];""")
    assert found == [0, 1]


def test_nothing_of_one_caller_is_left_for_the_next(blank):
    found = call(blank, "state.js", """
        const caller = (account) => ({account, tier: 'free'});
        const hello = (account) => ({type: 'hello',
          data: {stream: '1', pool: 'p', build: 'b', caller: caller(account)}});
        let state = m.reduce(m.initial, hello('user:ada'));
        const receipt = {job: 7, ended_at: '2026-11-21T12:00:00.000Z'};
        state = m.reduce(state, {type: 'done', data: {receipt, balance: null}});
        state = m.reduce(state, {type: 'job', data: {job: 8, at: 'a'}});
        state = m.reduce(state, hello('user:bob'));
        return [state.jobs, state.receipts, state.balance, state.caller.account];""")
    assert found == [[], [], None, "user:bob"]


def test_a_request_id_is_a_uuid_of_version_7_with_the_pools_time(blank):
    found = call(blank, "request_id.js", "return m.requestId(x, (bytes) => bytes.fill(255))",
                 0x0192_3456_789A)
    assert found == "01923456-789a-7fff-bfff-ffffffffffff"
