"""deploy/login-proxy: nginx with its configuration and gpupool-login, in front of a stand-in for a Space that
says what reaches it."""

import base64
import hashlib
import http.client
import http.server
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

import pool

SECRET = "0123456789abcdef0123456789abcdef"
NGINX = shutil.which("nginx", path=pool.PATH)
POOL = """
[pool]
roles = ["broker"]
[broker]
worker_address = "127.0.0.1:0"
[[identity.keys]]
kid = "main"
secret_file = "main.secret"
"""


class Space(http.server.BaseHTTPRequestHandler):
    """Answers with the headers that it got; /gradio_api/queue/data is a slow stream, and a request to
    upgrade is taken up."""

    protocol_version = "HTTP/1.1"
    go_on = threading.Event()

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(
                hashlib.sha1(key.encode()).digest()).decode())
            self.end_headers()
            self.wfile.write(b"frames")
            self.close_connection = True
            return
        if self.path.endswith("/queue/data"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"data: first\n\n")
            self.wfile.flush()
            self.go_on.wait(20)
            self.wfile.write(b"data: second\n\n")
            self.close_connection = True
            return
        self.do_POST()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def claims_of(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@unittest.skipUnless(NGINX, "nginx is not installed")
class LoginProxy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="gpupool-login-"))
        (cls.folder / "main.secret").write_text(SECRET)
        (cls.folder / "main.secret").chmod(0o600)
        (cls.folder / "pool.toml").write_text(POOL)
        cls.program = pool.DEPLOY / "login-proxy" / "gpupool-login"
        subprocess.run([cls.program, "adduser", cls.folder / "users", "ada"], input="her word\n",
                       text=True, check=True)
        cls.space = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Space)
        threading.Thread(target=cls.space.serve_forever, daemon=True).start()
        cls.login = pool.start([cls.program, "serve", "--listen", "127.0.0.1:0", "--plain-http",
                                "--key", cls.folder / "main.secret", "--users",
                                cls.folder / "users"], cls.folder / "login.log")

        def listening():
            said = (cls.folder / "login.log").read_text()
            return said.split(":")[-1].strip() if "listening" in said else None

        login_port = pool.wait_until(listening, "gpupool-login listens")
        cls.port = free_port()
        server = (pool.DEPLOY / "login-proxy" / "nginx.conf").read_text()
        for shipped, ours in (("127.0.0.1:7860", f"127.0.0.1:{cls.space.server_address[1]}"),
                              ("127.0.0.1:7491", f"127.0.0.1:{login_port}"),
                              ("listen 80;", f"listen 127.0.0.1:{cls.port};")):
            assert shipped in server, shipped
            server = server.replace(shipped, ours)
        (cls.folder / "nginx.conf").write_text(
            f"daemon off; pid {cls.folder}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {cls.folder}/body;\n"
            f"proxy_temp_path {cls.folder}/proxy; fastcgi_temp_path {cls.folder}/fastcgi;\n"
            f"uwsgi_temp_path {cls.folder}/uwsgi; scgi_temp_path {cls.folder}/scgi;\n{server}}}\n")
        cls.nginx = pool.start([NGINX, "-p", cls.folder, "-c", cls.folder / "nginx.conf"],
                               cls.folder / "nginx.log")

        def serves():
            assert cls.nginx.poll() is None, (cls.folder / "nginx.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", cls.port), 1).close()
                return True
            except OSError:
                return False

        pool.wait_until(serves, "nginx serves")

    @classmethod
    def tearDownClass(cls):
        pool.stop(cls.nginx)
        pool.stop(cls.login)
        cls.space.shutdown()
        cls.space.server_close()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def ask(self, path, method="POST", body="", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body,
                           {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer, body

    def headers_at_space(self, path, **headers):
        answer, body = self.ask(path, **headers)
        self.assertEqual(answer.status, 200, body)
        return json.loads(body)

    def log_in(self, user="ada", password="her word"):
        form = f"user={user}&password={password.replace(' ', '+')}"
        answer, _ = self.ask("/_gpupool/login", body=form,
                             Content_Type="application/x-www-form-urlencoded")
        return answer, answer.getheader("Set-Cookie", "").split(";")[0]

    def caller(self, token):
        """Who the pool takes its bearer for, by its own program."""
        (self.folder / "token").write_text(token)
        done = pool.run(pool.BUILD / "gpupool", "token", "inspect", "--json", "--config",
                        self.folder / "pool.toml", "--token-file", self.folder / "token")
        return json.loads(done.stdout)["caller"]

    def test_a_visitor_without_a_login_has_a_token_of_their_address(self):
        for path in ("/gradio_api/queue/join", "/gradio_api/call/who", "/queue/join", "/call/who"):
            token = self.headers_at_space(path)["x-ip-token"]
            self.assertEqual(claims_of(token)["ip"], "127.0.0.1")
            self.assertNotIn("error", claims_of(token))
            self.assertEqual(self.caller(token)["account"], "address:127.0.0.1/32")

    def test_a_visitor_who_logged_in_has_a_token_of_their_name(self):
        answer, cookie = self.log_in()
        self.assertEqual(answer.status, 303)
        self.assertIn("HttpOnly", answer.getheader("Set-Cookie"))
        token = self.headers_at_space("/gradio_api/queue/join", Cookie=cookie)["x-ip-token"]
        self.assertEqual(self.caller(token)["account"], "user:ada")
        self.assertLessEqual(claims_of(token)["exp"] - claims_of(token)["iat"], 300)

    def test_a_wrong_password_or_name_logs_nobody_in(self):
        for user, password in (("ada", "a guess"), ("ada", ""), ("nobody", "her word"), ("", "")):
            answer, cookie = self.log_in(user, password)
            self.assertEqual((answer.status, cookie), (403, ""))

    def test_a_cookie_that_was_not_made_here_is_of_nobody_and_its_visitor_is_told(self):
        _, cookie = self.log_in()
        name, value = cookie.split("=", 1)
        text, proof = value.split(".")
        other = base64.urlsafe_b64encode(b"root|99999999999").rstrip(b"=").decode()
        for forged in (f"{other}.{proof}", f"{text}.AAAA", f"{text}", "a.b.c", "%%%"):
            token = self.headers_at_space("/gradio_api/queue/join",
                                          Cookie=f"{name}={forged}")["x-ip-token"]
            self.assertEqual(claims_of(token)["ip"], "127.0.0.1")
            self.assertEqual(claims_of(token)["error"], "your login has ended")

    def test_what_a_browser_says_of_itself_never_reaches_the_space(self):
        for path in ("/gradio_api/queue/join", "/gradio_api/call/who"):
            got = self.headers_at_space(path, X_IP_Token="mine", X_Real_IP="192.0.2.1",
                                        X_Forwarded_For="192.0.2.1")
            self.assertEqual(claims_of(got["x-ip-token"])["ip"], "127.0.0.1")
            self.assertEqual(got["x-forwarded-for"], "127.0.0.1")
        for path in ("/", "/config", "/gradio_api/upload"):
            self.assertNotIn("x-ip-token", self.headers_at_space(path, X_IP_Token="mine"))

    def test_nobody_asks_for_tokens_but_nginx(self):
        self.assertEqual(self.ask("/_gpupool/token", "GET")[0].status, 404)

    def test_events_pass_as_they_come(self):
        Space.go_on.clear()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", "/gradio_api/queue/data")
        answer = connection.getresponse()
        self.assertEqual(answer.read1(), b"data: first\n\n")
        Space.go_on.set()
        self.assertEqual(answer.read(), b"data: second\n\n")
        connection.close()

    def test_a_websocket_passes(self):
        with socket.create_connection(("127.0.0.1", self.port), 20) as web:
            web.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        b"Sec-WebSocket-Version: 13\r\n\r\n")
            heard = b""
            while b"frames" not in heard:
                piece = web.recv(4096)
                self.assertTrue(piece, heard)
                heard += piece
        self.assertTrue(heard.startswith(b"HTTP/1.1 101 "), heard)

    def test_no_token_and_no_password_is_written_down(self):
        self.log_in()
        self.headers_at_space("/gradio_api/queue/join?__theme=dark")
        for log in ("login.log", "nginx.log"):
            said = (self.folder / log).read_text()
            for secret in ("her word", "her+word", "eyJ", SECRET):
                self.assertNotIn(secret, said)


if __name__ == "__main__":
    pool.main()
