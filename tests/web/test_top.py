"""`gpupool top` as an operator sits before it: a terminal of 80 x 24, keys, and a pool that dies.

`python3 test_top.py` makes the environment that it needs and runs pytest on this file."""

import sys

if __name__ == "__main__":
    import environment

    sys.exit(environment.main(__file__))

import os
import re
import signal
import subprocess

import pytest
from environment import pool as build
from pool_and_page import Pool
from terminal import Terminal

LONG = "steps=9000"  # that no test waits for


@pytest.fixture(scope="module")
def lab():
    found = Pool(name="lab")
    yield found
    found.end()


@pytest.fixture
def users(lab):
    """Ada's job has the slot, Bob's waits."""
    found = {name: lab.token(name) for name in ("ada", "bob")}
    jobs = {}
    for name, token in found.items():
        told = lab.gpupool(token, "submit", "emoji", "prompt=a star", LONG, "--detach")
        jobs[name] = told["job"]
    yield jobs
    for token in found.values():
        lab.cancel_all(token)


@pytest.fixture
def top(lab):
    started = []

    def start(pool=lab, token=None, words=(), **env):
        command = [build.BUILD / "gpupool", "top", "--endpoint", pool.client, *words]
        found = Terminal(command, {"GPUPOOL_TOKEN": token or pool.operator_token()} | env)
        started.append(found)
        return found

    yield start
    for one in started:
        one.close()


def test_it_shows_who_runs_what_until_when_and_who_waits_until_when_at_the_latest(top, users):
    screen = top().wait_for("user:ada", "the slot's job").wait_for("user:bob", "the queue")
    screen.wait_for(f"running {users['ada']:>7} user:ada", "the run")
    assert "pool lab" in screen.lines[0] and screen.lines[0].endswith("live")
    assert screen.lines[1].startswith("slots 1 busy of 1")
    assert "queue 1 waiting" in screen.lines[1]
    slot = next(line for line in screen.lines if "user:ada" in line)
    assert re.match(rf"node-1 +0 running +{users['ada']} user:ada +emoji +\d+ s +(\d+ s|\d:\d\d)",
                    slot)
    waits = next(line for line in screen.lines if "user:bob" in line and "queued" in line)
    assert re.match(rf" *{users['bob']} user:bob +emoji +large +queued +1 +\d+ s", waits)
    assert re.search(r"\d:\d\d$", waits), "the promised start"
    assert max(map(len, screen.lines)) <= 80
    screen.press("q")
    assert screen.end() == 0


def test_without_colours_no_colour_is_sent(top):
    screen = top(NO_COLOR="1").wait_for("live", "the pool")
    screen.press("q")
    assert screen.end() == 0
    assert not re.search(rb"\x1b\[[0-9;]*3[1-7]m", screen.bytes)


def test_lists_are_filtered_sorted_and_changed_by_keys(top, users):
    screen = top().wait_for("user:ada", "the slot's job")
    screen.press("/nobody\n")
    screen.wait_for(lambda me: "user:ada" not in me.text, "the filter")
    assert "(none)" in screen.text
    screen.press("/\x1b")
    screen.wait_for("user:ada", "all of them again")
    screen.press("s")
    screen.press("\t\t")
    screen.wait_for("DEVICES", "the nodes")
    screen.press("h")
    screen.wait_for("explain the row's job", "the help")
    screen.press("q")
    screen.wait_for("DEVICES", "back from the help")
    screen.press("q")
    assert screen.end() == 0


def test_a_job_is_explained_and_cancelled_after_a_question(top, users, lab):
    screen = top().wait_for(f"{users['ada']} user:ada", "the slot's job")
    screen.press("e")
    screen.wait_for(f"job {users['ada']}", "the story").wait_for("held", "its hold")
    screen.press("q")
    screen.wait_for("ACCOUNT", "the lists")
    screen.press("cn")
    screen.wait_for("not done", "the answer n")
    screen.press("c")
    screen.wait_for(f"cancel job {users['ada']}?", "the question")
    screen.press("y")
    screen.wait_for(lambda me: not any("user:ada" in line and "running" in line
                                       for line in me.lines), "the job's end")
    receipt = lab.gpupool(lab.token("ada"), "receipts")["receipts"][0]
    assert receipt["job"] == users["ada"]
    assert receipt["outcome"] == "cancelled"
    assert "operator user:root" in receipt["detail"]


def test_a_node_is_drained_and_resumed(top, lab):
    screen = top().wait_for("node-1", "the node")
    screen.press("dy")
    screen.wait_for("1 draining", "the drain")
    screen.press("d")
    screen.wait_for("resume node-1?", "the question")
    screen.press("y")
    screen.wait_for("1 healthy", "the node takes jobs again")


def test_it_outlives_its_pool(top):
    mine = Pool(name="mortal")
    try:
        screen = top(pool=mine).wait_for("live", "the pool")
        mine.kill()
        screen.wait_for(lambda me: not me.lines[0].endswith("live"), "that the pool is lost")
        assert "node-1" in screen.text, "what was seen last"
        mine.config.write_text(mine.config.read_text().replace("tcp://127.0.0.1:*", mine.client))
        mine.start_again()
        screen.wait_for(lambda me: me.lines[0].endswith("live"), "the pool is back")
        screen.press("q")
        assert screen.end() == 0
    finally:
        mine.end()


def test_a_pool_that_stands_still_is_not_called_live(top):
    mine = Pool(name="asleep")
    try:
        screen = top(pool=mine).wait_for("live", "the pool")
        os.killpg(mine.process.pid, signal.SIGSTOP)
        screen.wait_for(lambda me: re.search(r"no answer for \d+ s$", me.lines[0]), "the silence")
        os.killpg(mine.process.pid, signal.SIGCONT)
        screen.wait_for(lambda me: me.lines[0].endswith("live"), "the pool is awake")
        screen.press("q")
        assert screen.end() == 0
    finally:
        os.killpg(mine.process.pid, signal.SIGCONT)
        mine.end()


def test_nobody_but_an_operator_looks(lab):
    done = subprocess.run(
        [build.BUILD / "gpupool", "top", "--endpoint", lab.client, "--once"], text=True, timeout=60,
        capture_output=True, env={"GPUPOOL_TOKEN": lab.token("ada"), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 3
    assert "only operators may" in done.stderr


def test_one_picture_goes_where_no_terminal_is(lab, users):
    done = subprocess.run(
        [build.BUILD / "gpupool", "top", "--endpoint", lab.client], text=True, timeout=60,
        capture_output=True,
        env={"GPUPOOL_TOKEN": lab.operator_token(), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert "user:ada" in done.stdout and "user:bob" in done.stdout
    assert "\x1b" not in done.stdout
    overview = lab.gpupool(lab.operator_token(), "top")
    assert overview["pool"] == "lab"
    assert overview["slots"] == {"total": 1, "busy": 1, "down": 0}
