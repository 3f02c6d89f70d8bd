"""Stands between a Space and its pool, and does to it what a network can: answers for it, cuts a stream
without its last chunk. It counts what was asked. The pool lets no process in through it: it isn't
the process's own connection."""

import collections
import http.client
import http.server
import threading


class Relay:
    def __init__(self, upstream, not_found=0, cuts=0):
        self.upstream, self.not_found, self.cuts = upstream, not_found, cuts
        self.asked = collections.Counter()
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                relay.serve(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, request):
        path = request.path.split("?")[0].rsplit("/", 1)[1]
        self.asked[path] += 1
        if path == "startup-report" and self.asked[path] <= self.not_found:
            return request.send_error(404)
        upstream = http.client.HTTPConnection(self.upstream, timeout=70)
        upstream.request("POST", request.path)
        answer = upstream.getresponse()
        request.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                request.send_header(name, value)
        if answer.getheader("Transfer-Encoding") != "chunked":
            body = answer.read()
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)
            return None
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        while event := answer.read1():
            request.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            request.wfile.flush()
            if self.asked[path] <= self.cuts:
                request.close_connection = True
                upstream.close()
                return None
        request.wfile.write(b"0\r\n\r\n")
        return None

    def end(self):
        self.server.shutdown()
        self.server.server_close()
