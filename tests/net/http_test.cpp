// The HTTP server on real sockets: framing, bounds, and clients that do not behave.
#include "net/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>

using namespace gpupool;

namespace {

// A client that says exactly what it is told to, and hears what comes, send by send.
class RawClient {
 public:
  explicit RawClient(const std::string& endpoint) {
    const auto where = parse_address(endpoint);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(where->port);
    inet_pton(AF_INET, where->host.c_str(), &address.sin_addr);
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  // False: the server has closed.
  bool say(const std::string& text) const {
    return ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }
  // What comes at once; empty: the end, or nothing for some seconds.
  std::string hear() const {
    pollfd source{socket_, POLLIN, 0};
    if (::poll(&source, 1, 20'000) != 1) return {};
    std::string text(64 * 1024, '\0');
    const ssize_t got = ::recv(socket_, text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  std::string hear_all() const {
    std::string all;
    for (std::string piece = hear(); !piece.empty(); piece = hear()) all += piece;
    return all;
  }
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }

 private:
  int socket_ = -1;
};

// A server whose requests wait for the test to answer them.
class TestServer {
 public:
  struct Asked {
    HttpRequest request;
    std::shared_ptr<HttpReply> reply;
  };

  explicit TestServer(HttpLimits limits = {}) {
    auto server = HttpServer::open("127.0.0.1:0", limits, [this](HttpRequest request, auto reply) {
      reply->when_gone([this] { count(gone_); });
      const std::lock_guard lock(mutex_);
      asked_.push_back({std::move(request), std::move(reply)});
      changed_.notify_all();
    });
    REQUIRE(server);
    server_ = std::move(*server);
  }
  ~TestServer() { server_.reset(); }

  Asked asked() {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, patience, [this] { return !asked_.empty(); }));
    Asked first = std::move(asked_.front());
    asked_.pop_front();
    return first;
  }
  // On the server's thread, and waits for it.
  void run(const std::function<void()>& what) {
    std::unique_lock lock(mutex_);
    const int before = ran_;
    server_->post([this, what] {
      what();
      count(ran_);
    });
    REQUIRE(changed_.wait_for(lock, patience, [&] { return ran_ > before; }));
  }
  bool was_left() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [this] { return gone_ > 0; });
  }
  const std::string& endpoint() const { return server_->endpoint(); }
  HttpServer& server() { return *server_; }

 private:
  static constexpr std::chrono::seconds patience{20};
  void count(int& what) {
    const std::lock_guard lock(mutex_);
    ++what;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Asked> asked_;
  int ran_ = 0;
  int gone_ = 0;
  std::unique_ptr<HttpServer> server_;
};

std::string request(const std::string& target, const std::string& more = "") {
  return "POST " + target + " HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" + more + "\r\n";
}

// A header whose body waits for a word.
std::string expecting(const std::string& what, const std::string& length) {
  return "POST /s HTTP/1.1\r\nHost: a\r\nExpect: " + what + "\r\nContent-Length: " + length +
         "\r\n\r\n";
}

}  // namespace

TEST_CASE("A URL's escapes and its plus signs are taken apart, and broken ones refused") {
  CHECK(*decode_url("%2Fa+b%20c", UrlPart::query) == "/a b c");
  CHECK(*decode_url("a+b", UrlPart::path) == "a+b");
  CHECK_FALSE(decode_url("%2", UrlPart::query));
  CHECK_FALSE(decode_url("%", UrlPart::query));
  CHECK_FALSE(decode_url("%zz", UrlPart::query));
}

TEST_CASE("A request arrives with its path, its parameters and where it came from") {
  TestServer server;
  const RawClient client(server.endpoint());
  client.say(request("/p%2Fq/schedule?cgroupPath=%2Fa+b&enableQueue=true&token=x.y&empty=",
                     "Authorization: Bearer t\r\n"));
  const auto asked = server.asked();
  CHECK(asked.request.method == "POST");
  CHECK(asked.request.path == "/p/q/schedule");
  CHECK(*asked.request.parameter("cgroupPath") == "/a b");
  CHECK(*asked.request.parameter("token") == "x.y");
  CHECK(asked.request.parameter("empty")->empty());
  CHECK(asked.request.parameter("none") == nullptr);
  CHECK(asked.request.authorization == "Bearer t");
  CHECK(asked.request.peer.address == "127.0.0.1");
  CHECK(asked.request.peer.port != 0);
  server.run([&] {
    asked.reply->answer({.status = 429, .headers = {{"X-Authenticated", "pro"}}, .body = "{}"});
  });
  const std::string heard = client.hear();
  CHECK(heard.starts_with("HTTP/1.1 429 Too Many Requests\r\n"));
  CHECK(heard.find("Content-Type: application/json\r\n") != std::string::npos);
  CHECK(heard.find("X-Authenticated: pro\r\n") != std::string::npos);
  CHECK(heard.ends_with("\r\n\r\n{}"));
}

TEST_CASE("A connection serves one request after the other") {
  TestServer server;
  const RawClient client(server.endpoint());
  for (int i = 0; i < 3; ++i) {
    client.say(request("/n"));
    const auto asked = server.asked();
    server.run([&] { asked.reply->answer({.body = "1"}); });
    CHECK(client.hear().ends_with("\r\n\r\n1"));
  }
}

TEST_CASE("Each event of a stream is one chunk, and its end is the terminating one") {
  TestServer server;
  const RawClient client(server.endpoint());
  client.say(request("/s"));
  const auto asked = server.asked();
  server.run([&] { asked.reply->begin_stream({{"X-Queuing-Reason", "node"}}); });
  const std::string head = client.hear();
  CHECK(head.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(head.find("Content-Type: text/event-stream\r\n") != std::string::npos);
  CHECK(head.find("Transfer-Encoding: chunked\r\n") != std::string::npos);
  CHECK(head.find("X-Queuing-Reason: node\r\n") != std::string::npos);
  server.run([&] { asked.reply->event("event: ping\n\n"); });
  CHECK(client.hear() == "d\r\nevent: ping\n\n\r\n");
  server.run([&] { asked.reply->end_stream(); });
  CHECK(client.hear_all() == "0\r\n\r\n");
}

TEST_CASE("A stream that is cut ends without the terminating chunk") {
  TestServer server;
  const RawClient client(server.endpoint());
  client.say(request("/s"));
  const auto asked = server.asked();
  server.run([&] {
    asked.reply->begin_stream({});
    asked.reply->cut();
  });
  CHECK(client.hear_all().find("0\r\n\r\n") == std::string::npos);
}

TEST_CASE("A client that goes while it waits is noticed at once") {
  TestServer server;
  RawClient client(server.endpoint());
  client.say(request("/s"));
  const auto asked = server.asked();
  SECTION("before the answer") {}
  SECTION("in its stream") {
    server.run([&] { asked.reply->begin_stream({}); });
    client.hear();
  }
  client.close();
  CHECK(server.was_left());
  server.run([&] { asked.reply->event("event: ping\n\n"); });  // says nothing to nobody
}

TEST_CASE("A client that does not read its stream loses it, and nobody else waits") {
  TestServer server({.write = milliseconds(200)});
  const RawClient deaf(server.endpoint());
  deaf.say(request("/s"));
  const auto asked = server.asked();
  server.run([&] {
    asked.reply->begin_stream({});
    for (int i = 0; i < 100; ++i) asked.reply->event(std::string(1'000'000, 'x'));
  });
  CHECK(server.was_left());
}

TEST_CASE("A header beyond the bound is refused before it is whole") {
  TestServer server;
  const RawClient client(server.endpoint());
  client.say("POST /s HTTP/1.1\r\nHost: a\r\nX: ");
  const std::string piece(64 * 1024, 'x');
  bool open = true;
  for (int i = 0; open && i < 1'600; ++i) open = client.say(piece);  // 100 MB of it
  CHECK_FALSE(open);
}

TEST_CASE("A header just beyond the bound is answered by 431, a body by 413") {
  TestServer server;
  const RawClient large(server.endpoint());
  large.say(request("/s", "X: " + std::string(17'000, 'x') + "\r\n"));
  CHECK(large.hear().starts_with("HTTP/1.1 431 "));
  const RawClient heavy(server.endpoint());
  heavy.say("POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 104857600\r\n\r\n");
  CHECK(heavy.hear().starts_with("HTTP/1.1 413 "));
}

TEST_CASE("What is no request is answered by 400 and closed") {
  TestServer server;
  for (const char* text :
       {"nonsense\r\n\r\n", "POST /a%2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /a?b=%zz HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x02\x01\r\n\r\n"}) {
    const RawClient client(server.endpoint());
    client.say(text);
    CHECK(client.hear_all().starts_with("HTTP/1.1 400 "));
  }
  const RawClient many(server.endpoint());
  std::string query = "/a?";
  for (int i = 0; i < 100; ++i) query += "a=b&";
  many.say(request(query));
  CHECK(many.hear_all().starts_with("HTTP/1.1 400 "));
}

TEST_CASE("Who expects 100-continue is told to send the body, once it may be taken") {
  TestServer server;
  const RawClient client(server.endpoint());
  for (const char* expects : {"100-continue", "100-Continue"}) {
    client.say(expecting(expects, "2"));
    CHECK(client.hear() == "HTTP/1.1 100 Continue\r\n\r\n");
    client.say("{}");
    const auto asked = server.asked();
    CHECK(asked.request.body == "{}");
    server.run([&] { asked.reply->answer({.body = "1"}); });
    const std::string heard = client.hear();
    CHECK(heard.starts_with("HTTP/1.1 200 "));
    CHECK(heard.ends_with("\r\n\r\n1"));
  }
}

TEST_CASE("A body that is not to be taken is not called for") {
  TestServer server;
  const auto heard = [&](const std::string& text) {
    const RawClient client(server.endpoint());
    client.say(text);
    return client.hear_all();
  };
  CHECK(heard(expecting("100-continue", "104857600")).starts_with("HTTP/1.1 413 "));
  CHECK(heard(expecting("a-cake", "2")).starts_with("HTTP/1.1 417 "));
  CHECK(heard(expecting("a-cake", "0")).starts_with("HTTP/1.1 417 "));
  CHECK(heard(expecting("100-continue\r\nExpect: a-cake", "2")).starts_with("HTTP/1.1 417 "));
  CHECK(heard(expecting("100-continue\r\nAuthorization: a\r\nAuthorization: b", "2"))
            .starts_with("HTTP/1.1 400 "));
}

TEST_CASE("A client of HTTP/1.0 knows no 100 and hears none") {
  TestServer server({.request = milliseconds(300)});
  const RawClient client(server.endpoint());
  client.say("POST /s HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  CHECK(client.hear_all().empty());
}

TEST_CASE("Nobody hears 100 whose body is there or empty") {
  TestServer server;
  const RawClient client(server.endpoint());
  SECTION("there") { client.say(expecting("100-continue", "2") + "{}"); }
  SECTION("empty") { client.say(expecting("100-continue", "0")); }
  const auto asked = server.asked();
  server.run([&] { asked.reply->answer({.body = "1"}); });
  CHECK(client.hear().starts_with("HTTP/1.1 200 "));
}

TEST_CASE("HEAD is answered by the length of the body without it, and what follows is whole") {
  auto server = HttpServer::open(
      "127.0.0.1:0", {}, [](const HttpRequest&, auto reply) { reply->answer({.body = "four"}); },
      [](int status) { return HttpAnswer{.status = status, .body = "no"}; });
  REQUIRE(server);
  const RawClient client((*server)->endpoint());
  client.say("HEAD /s HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string head = client.hear();
  CHECK(head.find("Content-Type: application/json\r\n") != std::string::npos);
  CHECK(head.find("Content-Length: 4\r\n") != std::string::npos);
  CHECK(head.ends_with("\r\n\r\n"));
  client.say("nonsense\r\n\r\n");
  CHECK(client.hear_all().ends_with("\r\n\r\nno"));
}

TEST_CASE("Of two tokens none counts: such a request is refused") {
  TestServer server;
  const RawClient client(server.endpoint());
  client.say(request("/s", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"));
  CHECK(client.hear_all().starts_with("HTTP/1.1 400 "));
}

TEST_CASE("An empty body has its type, where an answer may have one") {
  TestServer server;
  const RawClient client(server.endpoint());
  for (const int status : {200, 204, 304}) {
    client.say(request("/log"));
    const auto asked = server.asked();
    server.run([&] { asked.reply->answer({.status = status, .media_type = "text/plain"}); });
    const bool has_type = client.hear().find("Content-Type: text/plain\r\n") != std::string::npos;
    CHECK(has_type == (status == 200));
  }
}

TEST_CASE("A header that comes drop by drop has as long as any other, and is cut then") {
  TestServer server({.request = milliseconds(300)});
  const RawClient slow(server.endpoint());
  slow.say("POST /s HT");
  CHECK(slow.hear_all().empty());
  const RawClient silent(server.endpoint());
  CHECK(silent.hear_all().empty());
}

TEST_CASE("One connection too many is closed, and there is room again when another ends") {
  TestServer server({.connections_max = 2});
  RawClient first(server.endpoint());
  first.say(request("/a"));
  const auto asked = server.asked();
  const RawClient second(server.endpoint());
  second.say(request("/b"));
  const auto also_asked = server.asked();
  const RawClient third(server.endpoint());
  CHECK(third.hear().empty());
  server.run([&] { asked.reply->answer({.body = "1"}); });
  first.close();
  server.run([&] { also_asked.reply->answer({.body = "1"}); });
  CHECK(second.hear().ends_with("1"));
}

TEST_CASE("The server's end cuts every stream, so that its client asks again") {
  auto server = std::make_unique<TestServer>();
  const RawClient client(server->endpoint());
  client.say(request("/s"));
  {
    const auto asked = server->asked();
    server->run([&] { asked.reply->begin_stream({}); });
    client.hear();
    server.reset();
  }
  CHECK(client.hear_all().empty());
}
