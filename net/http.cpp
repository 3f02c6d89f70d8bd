#include "net/http.h"

#include <atomic>
#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <chrono>
#include <deque>
#include <optional>
#include <set>

#include "config/config.h"

namespace gpupool {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

std::chrono::milliseconds chrono_of(Duration duration) {
  return std::chrono::milliseconds(duration.ms);
}

// The parser tells of a header that is too long before the buffer is full.
constexpr std::int64_t http_slack_bytes = 4096;

// What a request wants to hear before it sends its body.
enum class Expectation : std::uint8_t { none, go_on, unknown };

// A client of HTTP/1.0 knows no 100, whatever a proxy passed on (RFC 9110, 10.1.1).
Expectation expectation_of(const http::request<http::string_body>& read) {
  const auto [first, last] = read.equal_range(http::field::expect);
  if (first == last) return Expectation::none;
  for (auto one = first; one != last; ++one)
    if (!beast::iequals(one->value(), "100-continue")) return Expectation::unknown;
  return read.version() < 11 ? Expectation::none : Expectation::go_on;
}

}  // namespace

// ---- The thread ------------------------------------------------------------------------------

class HttpServer::Loop : public std::enable_shared_from_this<Loop> {
 public:
  Loop(HttpLimits limits, Handler handler, Refusal refusal)
      : limits_(limits), handler_(std::move(handler)), refusal_(std::move(refusal)) {}

  Status listen(const std::string& endpoint);
  void run() {
    accept();
    context_.run();
  }
  void stop();

  class Connection;
  void post(std::function<void()> what) { asio::post(context_, std::move(what)); }
  void every(Duration interval, std::function<void()> what);
  void handle(HttpRequest request, std::shared_ptr<HttpReply> reply) {
    handler_(std::move(request), std::move(reply));
  }
  void opened(Connection* connection) {
    all_.insert(connection);
    count_ = all_.size();
  }
  void closed(Connection* connection) {
    all_.erase(connection);
    count_ = all_.size();
  }
  HttpAnswer refusal(int status) const {
    return refusal_ ? refusal_(status) : HttpAnswer{.status = status};
  }
  const HttpLimits& limits() const { return limits_; }
  const std::string& endpoint() const { return endpoint_; }
  std::uint16_t port() const { return port_; }
  std::size_t connections() const { return count_; }

 private:
  void accept();
  void ring(Duration interval, const std::shared_ptr<asio::steady_timer>& timer,
            const std::function<void()>& what);

  const HttpLimits limits_;
  const Handler handler_;
  const Refusal refusal_;
  asio::io_context context_{1};
  tcp::acceptor acceptor_{context_};
  asio::steady_timer pause_{context_};
  std::string endpoint_;
  std::uint16_t port_ = 0;
  std::set<Connection*> all_;
  std::atomic<std::size_t> count_ = 0;
  std::vector<std::shared_ptr<asio::steady_timer>> timers_;
  bool stopping_ = false;
};

// One client, request after request. Alive while an operation of it is pending, or a reply is held.
class HttpServer::Loop::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Loop> loop, tcp::socket socket)
      : loop_(std::move(loop)),
        stream_(std::move(socket)),
        buffer_(static_cast<std::size_t>(loop_->limits().header_bytes_max + http_slack_bytes)) {
    loop_->opened(this);
  }
  ~Connection() { loop_->closed(this); }

  void start() {
    beast::error_code error;
    stream_.socket().set_option(tcp::no_delay(true), error);
    const auto peer = stream_.socket().remote_endpoint(error);
    if (error) return;
    peer_ = {.address = peer.address().to_string(), .port = peer.port(), .here = loop_->port()};
    read(loop_->limits().request);
  }

  void close() {
    beast::error_code ignored;
    stream_.socket().close(ignored);
    kept_.reset();
    ++request_;
    // What its client hears no more concerns whoever waits for it.
    // Not at once: it may be just now that they say something here.
    if (auto gone = std::exchange(when_gone_, nullptr)) loop_->post(std::move(gone));
  }

 private:
  class Reply;
  using Parser = http::request_parser<http::string_body>;

  void read(Duration limit) {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(loop_->limits().header_bytes_max));
    parser_->body_limit(static_cast<std::uint64_t>(loop_->limits().body_bytes_max));
    stream_.expires_after(chrono_of(limit));  // of the whole request, its body included
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](beast::error_code error, std::size_t) {
                              self->got_header(error);
                            });
  }

  void got_header(beast::error_code error);
  void call_for_body();
  void read_body();
  void got(beast::error_code error);
  void refuse(http::status status);
  Result<HttpRequest> request_of(const http::request<http::string_body>& read) const;

  void write_answer(const HttpAnswer& answer);
  void begin_stream(const HttpHeaders& headers);
  void send(std::string bytes);
  void write_next();
  void wait_for_end();
  void finish();

  const std::shared_ptr<Loop> loop_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  HttpPeer peer_;
  bool keeps_alive_ = false;
  bool heads_ = false;  // of the answer its header alone is wanted
  bool streams_ = false;
  bool ends_ = false;  // once everything is written
  std::uint64_t request_ = 0;
  std::deque<std::string> waiting_;  // to be written, the first is on its way
  std::shared_ptr<void> kept_;       // of the answer that is on its way
  std::function<void()> when_gone_;
};

// Of one request: a later one on its connection is none of its business.
class HttpServer::Loop::Connection::Reply : public HttpReply {
 public:
  Reply(std::shared_ptr<Connection> connection, std::uint64_t request)
      : connection_(std::move(connection)), request_(request) {}
  // A handler that forgot it leaves nobody waiting.
  ~Reply() override {
    if (is_open()) connection_->close();
  }

  void answer(HttpAnswer answer) override {
    if (is_open() && !connection_->streams_) done()->write_answer(answer);
  }
  void begin_stream(const HttpHeaders& headers) override {
    if (is_open() && !connection_->streams_) connection_->begin_stream(headers);
  }
  void event(std::string text) override {
    if (!is_open() || !connection_->streams_) return;
    std::array<char, 16> size{};
    const auto end = std::to_chars(size.data(), size.data() + size.size(), text.size(), 16).ptr;
    connection_->send(std::string(size.data(), end) + "\r\n" + text + "\r\n");
  }
  void end_stream() override {
    if (!is_open() || !connection_->streams_) return;
    const auto connection = done();
    connection->ends_ = true;
    connection->send("0\r\n\r\n");
  }
  void cut() override {
    if (is_open()) done()->close();
  }
  void when_gone(std::function<void()> gone) override {
    if (is_open()) connection_->when_gone_ = std::move(gone);
  }

 private:
  bool is_open() const { return connection_ && connection_->request_ == request_; }
  std::shared_ptr<Connection> done() {
    connection_->when_gone_ = nullptr;
    return std::exchange(connection_, nullptr);
  }

  std::shared_ptr<Connection> connection_;
  const std::uint64_t request_;
};

void HttpServer::Loop::Connection::got_header(beast::error_code error) {
  const auto& read = parser_->get();
  // Now, since a refusal has to know it as well.
  heads_ = read.method() == http::verb::head;
  if (error) return got(error);
  const Expectation expects = expectation_of(read);
  if (expects == Expectation::unknown) return refuse(http::status::expectation_failed);
  if (parser_->is_done()) return got(error);
  // Whose body has begun to come does not wait for a word.
  if (expects == Expectation::none || buffer_.size() > 0) return read_body();
  if (!request_of(read)) return refuse(http::status::bad_request);
  call_for_body();
}

void HttpServer::Loop::Connection::call_for_body() {
  static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
  asio::async_write(stream_, asio::buffer(go_on),
                    [self = shared_from_this()](beast::error_code error, std::size_t) {
                      if (error) return self->close();
                      self->read_body();
                    });
}

void HttpServer::Loop::Connection::read_body() {
  http::async_read(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](beast::error_code error, std::size_t) { self->got(error); });
}

void HttpServer::Loop::Connection::got(beast::error_code error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    return refuse(http::status::request_header_fields_too_large);
  if (error == http::error::body_limit) return refuse(http::status::payload_too_large);
  const bool is_of_http =
      error.category() == http::make_error_code(http::error::bad_method).category();
  if (error && is_of_http && error != http::error::end_of_stream &&
      error != http::error::partial_message)
    return refuse(http::status::bad_request);
  if (error) return close();
  const auto& read = parser_->get();
  keeps_alive_ = read.keep_alive();
  auto request = request_of(read);
  if (!request) return refuse(http::status::bad_request);
  parser_.reset();
  buffer_.shrink_to_fit();  // a stream that waits costs its connection and little more
  stream_.expires_never();
  ++request_;
  const auto reply = std::make_shared<Reply>(shared_from_this(), request_);
  wait_for_end();
  loop_->handle(std::move(*request), reply);
}

void HttpServer::Loop::Connection::refuse(http::status status) {
  keeps_alive_ = false;
  write_answer(loop_->refusal(static_cast<int>(status)));
}

Result<HttpRequest> HttpServer::Loop::Connection::request_of(
    const http::request<http::string_body>& read) const {
  const Error bad{.code = Errc::bad_request};
  const std::string_view target{read.target().data(), read.target().size()};
  const auto mark = std::min(target.find('?'), target.size());
  auto path = decode_url(target.substr(0, mark), UrlPart::path);
  if (!path || path->find('\0') != std::string::npos) return bad;
  HttpRequest request{.method = std::string(read.method_string()), .path = *std::move(path)};
  request.peer = peer_;
  // Which of two would count is not for us to choose.
  if (read.count(http::field::authorization) > 1) return bad;
  const auto header = [&](http::field name) { return std::string(read[name]); };
  request.authorization = header(http::field::authorization);
  request.content_type = header(http::field::content_type);
  request.host = header(http::field::host);
  request.origin = header(http::field::origin);
  request.if_none_match = header(http::field::if_none_match);
  // A proxy may add a line of its own behind what the client claims: all of them count, in order.
  const auto [first, last] = read.equal_range("X-Forwarded-For");
  for (auto one = first; one != last; ++one)
    request.forwarded_for +=
        (request.forwarded_for.empty() ? "" : ", ") + std::string(one->value());
  request.body = read.body();
  std::string_view rest = target.substr(std::min(mark + 1, target.size()));
  while (!rest.empty()) {
    if (std::ssize(request.query) >= limits::http_parameters_max) return bad;
    const auto length = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, length);
    const auto equals = std::min(pair.find('='), pair.size());
    auto key = decode_url(pair.substr(0, equals), UrlPart::query);
    auto value = decode_url(pair.substr(std::min(equals + 1, pair.size())), UrlPart::query);
    if (!key || !value) return bad;
    request.query.emplace_back(*std::move(key), *std::move(value));
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
  return request;
}

// ---- Answers ---------------------------------------------------------------------------------

void HttpServer::Loop::Connection::write_answer(const HttpAnswer& answer) {
  ++request_;  // whatever else is said to this request is too late
  std::string text = "HTTP/1.1 " + std::to_string(answer.status) + " " +
                     std::string(http::obsolete_reason(static_cast<http::status>(answer.status))) +
                     "\r\n";
  if (answer.status != 204 && answer.status != 304)
    text += "Content-Type: " + answer.media_type + "\r\n";
  for (const auto& [name, value] : answer.headers) text += name + ": " + value + "\r\n";
  if (answer.status != 204)
    text += "Content-Length: " + std::to_string(answer.body.size()) + "\r\n";
  if (!keeps_alive_) text += "Connection: close\r\n";
  ends_ = !keeps_alive_;
  kept_ = answer.kept;
  send(text + "\r\n" + (heads_ ? std::string{} : answer.body));
}

void HttpServer::Loop::Connection::begin_stream(const HttpHeaders& headers) {
  streams_ = true;
  std::string text =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
      "X-Accel-Buffering: no\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n";
  for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
  send(text + "\r\n");
}

// One write for each, so that an event is never in two sends; the next waits for its end.
void HttpServer::Loop::Connection::send(std::string bytes) {
  if (std::ssize(waiting_) >= loop_->limits().events_waiting_max) return close();
  waiting_.push_back(std::move(bytes));
  if (waiting_.size() == 1) write_next();
}

void HttpServer::Loop::Connection::write_next() {
  stream_.expires_after(chrono_of(loop_->limits().write));
  asio::async_write(stream_, asio::buffer(waiting_.front()),
                    [self = shared_from_this()](beast::error_code error, std::size_t) {
                      if (error) return self->close();
                      self->waiting_.pop_front();
                      self->stream_.expires_never();
                      if (!self->waiting_.empty()) return self->write_next();
                      self->kept_.reset();
                      if (self->ends_)
                        self->finish();
                      else if (!self->streams_)
                        self->read(self->loop_->limits().idle);
                    });
}

void HttpServer::Loop::Connection::finish() {
  beast::error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  close();
}

// While an answer is being made: has its client gone? Looks only, since the next request may be
// what there is to read; a stream's client has nothing to say.
void HttpServer::Loop::Connection::wait_for_end() {
  stream_.socket().async_wait(
      tcp::socket::wait_read,
      [self = shared_from_this(), request = request_](beast::error_code error) {
        if (self->request_ != request) return;
        if (error) return self->close();
        char look = 0;
        const ssize_t got =
            ::recv(self->stream_.socket().native_handle(), &look, 1, MSG_PEEK | MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return self->close();
        if (got < 0) return self->wait_for_end();
        // A request that was sent ahead waits for its turn; behind a stream there is none.
        if (self->streams_) self->close();
      });
}

// ---- The server ------------------------------------------------------------------------------

Status HttpServer::Loop::listen(const std::string& endpoint) {
  const auto wrong = [&](const std::string& why) {
    return Error{.code = Errc::system_failed, .detail = "HTTP at " + endpoint + ": " + why};
  };
  const auto address = parse_address(endpoint);
  if (!address) return address.error();
  beast::error_code error;
  tcp::resolver resolver(context_);
  const auto found =
      resolver.resolve(address->host, std::to_string(address->port),
                       tcp::resolver::passive | tcp::resolver::numeric_service, error);
  if (error || found.empty()) return wrong(error.message());
  const tcp::endpoint where = found.begin()->endpoint();
  acceptor_.open(where.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(where, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return wrong(error.message());
  port_ = acceptor_.local_endpoint().port();
  const bool is_six = address->host.find(':') != std::string::npos;
  endpoint_ = (is_six ? "[" + address->host + "]" : address->host) + ":" + std::to_string(port_);
  return ok();
}

void HttpServer::Loop::accept() {
  acceptor_.async_accept([this](beast::error_code error, tcp::socket socket) {
    if (stopping_ || error == asio::error::operation_aborted) return;
    if (error) {  // out of descriptors: they come back when connections end
      pause_.expires_after(std::chrono::milliseconds(100));
      return pause_.async_wait([this](beast::error_code) {
        if (!stopping_) accept();
      });
    }
    // One too many is closed again, which its client sees at once.
    if (std::cmp_less(all_.size(), limits_.connections_max))
      std::make_shared<Connection>(shared_from_this(), std::move(socket))->start();
    accept();
  });
}

void HttpServer::Loop::every(Duration interval, std::function<void()> what) {
  timers_.push_back(std::make_shared<asio::steady_timer>(context_));
  ring(interval, timers_.back(), what);
}

void HttpServer::Loop::ring(Duration interval, const std::shared_ptr<asio::steady_timer>& timer,
                            const std::function<void()>& what) {
  timer->expires_after(chrono_of(interval));
  timer->async_wait([this, interval, timer, what](beast::error_code error) {
    if (error || stopping_) return;
    what();
    ring(interval, timer, what);
  });
}

void HttpServer::Loop::stop() {
  post([this] {
    stopping_ = true;
    beast::error_code ignored;
    acceptor_.close(ignored);
    // Whatever is pending ends with an error, and the thread with the last of it.
    pause_.cancel();
    for (const auto& timer : timers_) timer->cancel();
    std::vector<std::shared_ptr<Connection>> all;
    for (Connection* one : all_) all.push_back(one->shared_from_this());
    for (const auto& one : all) one->close();
  });
}

Result<std::unique_ptr<HttpServer>> HttpServer::open(const std::string& endpoint, HttpLimits limits,
                                                     Handler handler, Refusal refusal) {
  auto loop = std::make_shared<Loop>(limits, std::move(handler), std::move(refusal));
  if (const Status listens = loop->listen(endpoint); !listens) return listens.error();
  return std::unique_ptr<HttpServer>{new HttpServer(std::move(loop))};
}

HttpServer::HttpServer(std::shared_ptr<Loop> loop)
    : loop_(std::move(loop)), thread_([loop = loop_] { loop->run(); }) {}

HttpServer::~HttpServer() {
  loop_->stop();
  thread_.join();
}

const std::string& HttpServer::endpoint() const { return loop_->endpoint(); }
std::size_t HttpServer::connections() const { return loop_->connections(); }
void HttpServer::post(std::function<void()> what) { loop_->post(std::move(what)); }
void HttpServer::every(Duration interval, std::function<void()> what) {
  loop_->post([loop = loop_, interval, what = std::move(what)] { loop->every(interval, what); });
}

}  // namespace gpupool
