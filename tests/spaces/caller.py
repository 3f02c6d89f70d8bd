"""A process that takes a slot by the device API itself:
caller.py URL TOKEN|- SECONDS [stay|fork|fork-twice]. It asks for a
slot, waits for it, comes as its process, says so in a line of JSON, and gives it back when its stdin
ends or says so. `stay`: it goes on after that. `fork`: it starts a process that leaves its group;
`fork-twice`: and that is nobody's child."""

import json
import os
import sys
import time
import urllib.parse
import urllib.request


def ask(url, path, **query):
    request = urllib.request.Request(f"{url}{path}?{urllib.parse.urlencode(query)}", data=b"")
    with urllib.request.urlopen(request, timeout=70) as answer:
        return answer.read().decode()


def main():
    url, token, seconds, *how = sys.argv[1:]
    query = {"cgroupPath": "/", "taskId": os.getpid(), "enableQueue": "true",
             "durationSeconds": seconds}
    if token != "-":
        query["token"] = token
    # The grant is the whole answer, or the last event of its stream.
    granted = json.loads(ask(url, "/schedule", **query).rsplit("data: ", 1)[-1])
    ask(url, "/allow", allowToken=granted["allowToken"], pid=os.getpid())
    granted["pid"] = os.getpid()
    if "fork-twice" in how:
        heard, says = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(says, f"{os.getpid()}\n".encode())
                os.close(1)
                time.sleep(600)
            os._exit(0)
        os.wait()
        granted["child"] = int(os.read(heard, 20))
    if "fork" in how:
        granted["child"] = os.fork()
        if granted["child"] == 0:
            os.setsid()
            os.close(1)
            time.sleep(600)
    print(json.dumps(granted), flush=True)
    word = sys.stdin.readline()
    ask(url, "/release", allowToken=granted["allowToken"], fail="fail" in word)
    if "stay" in how:
        time.sleep(600)


main()
