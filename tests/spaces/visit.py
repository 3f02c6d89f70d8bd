"""A visitor of a Space, as a process of the real gradio_client: visit.py URL TOKEN|- FUNCTION TEXT.

Prints each message that the visitor is shown on the way, as it comes, and at last what came back as
a line of JSON: "result" or "error", and "seen": those messages."""

import json
import sys

from gradio_client import Client
from gradio_client.utils import StatusUpdate

SEEN = []
made = StatusUpdate.__init__


def noting(self, *words, **named):
    """The client keeps the last update only."""
    made(self, *words, **named)
    if self.log and self.log[0] not in SEEN:
        SEEN.append(self.log[0])
        print(self.log[0], flush=True)


def main():
    url, token, function, text = sys.argv[1:]
    StatusUpdate.__init__ = noting
    client = Client(url, headers={} if token == "-" else {"x-ip-token": token}, verbose=False)
    job = client.submit(text, api_name=f"/{function}")
    answer = {}
    try:
        answer["result"] = job.result(timeout=150)
        answer["all"] = job.outputs()
    except Exception as error:  # whatever it is, the test wants to see it
        answer["error"] = str(error)
        answer["title"] = getattr(error, "title", "")
    print(json.dumps(answer | {"seen": SEEN}))


main()
