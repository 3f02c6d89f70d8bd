#pragma once
// A small HTTP/1.1 server for programs of this machine: one thread, on which it calls its handler
// and everything given to post(). Requests are bounded in their header, body and time to arrive,
// connections in number and idle time; what breaks a bound is answered or cut, and never stored. A
// request's query is taken apart here and said to nobody but the handler: it holds tokens. An
// answer is whole, or an event stream: each event is one chunk and one send.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "config/config.h"
#include "config/limits.h"

namespace gpupool {

struct HttpPeer {
  std::string address;
  std::uint16_t port = 0;
  std::uint16_t here = 0;  // the port that it reached
};

struct HttpRequest {
  std::string method;
  std::string path;                                          // decoded, without the query
  std::vector<std::pair<std::string, std::string>> query{};  // likewise, in their order
  std::string authorization{};                               // headers, as they are
  std::string content_type{};
  std::string host{};
  std::string origin{};
  std::string if_none_match{};
  std::string forwarded_for{};  // what proxies before us say: believe none that you don't know
  std::string body{};
  HttpPeer peer{};

  // The first of this name; null: it is not there.
  const std::string* parameter(std::string_view name) const;
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpAnswer {
  int status = 200;
  HttpHeaders headers{};
  std::string body{};
  std::string media_type = "application/json";  // of an empty body, too; not said of 204 and 304
  std::shared_ptr<void> kept{};  // let go once all of it has left, or its client went
};

// The way back to one request. On the server's thread only; whatever is said after the end, or
// after its client went, is dropped.
class HttpReply {
 public:
  virtual ~HttpReply() = default;
  virtual void answer(HttpAnswer answer) = 0;
  virtual void begin_stream(const HttpHeaders& headers) = 0;
  virtual void event(std::string text) = 0;  // with its final empty line
  // With the terminating chunk, and without it: then its client knows that this was not the end.
  virtual void end_stream() = 0;
  virtual void cut() = 0;
  // Called once if the client goes before the answer is out, or does not read.
  virtual void when_gone(std::function<void()> gone) = 0;
};

struct HttpLimits {
  std::int64_t connections_max = limits::http_connections_max;
  std::int64_t header_bytes_max = limits::http_header_bytes_max;
  std::int64_t body_bytes_max = limits::http_body_bytes_max;
  Duration request = seconds(5);  // from its first moment to its last byte
  Duration idle = seconds(5);     // of a connection between two requests
  Duration write = seconds(10);   // of an answer or event that its client does not read
  std::int64_t events_waiting_max = limits::http_events_waiting_max;  // of one stream
};

class HttpServer {
 public:
  using Handler = std::function<void(HttpRequest, std::shared_ptr<HttpReply>)>;
  // The answer to what is no request: 400, 413, 417 or 431. Without one it is that status alone.
  using Refusal = std::function<HttpAnswer(int status)>;

  // Listens, then starts the thread. Error: system_failed with the endpoint.
  static Result<std::unique_ptr<HttpServer>> open(const std::string& endpoint, HttpLimits limits,
                                                  Handler handler, Refusal refusal = {});
  // Cuts every connection, streams without their terminating chunk, and waits for the thread.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  const std::string& endpoint() const;  // "127.0.0.1:7480", with its port
  std::size_t connections() const;
  // Runs on the server's thread, soon; dropped once it ends. From any thread.
  void post(std::function<void()> what);
  // Runs on the server's thread again and again. Before the first request.
  void every(Duration interval, std::function<void()> what);

 private:
  class Loop;
  explicit HttpServer(std::shared_ptr<Loop> loop);

  std::shared_ptr<Loop> loop_;
  std::thread thread_;
};

// A path or query parameter with %2F and, in a query, + for a space; nothing: it is no such text.
enum class UrlPart : std::uint8_t { path = 1, query };
Result<std::string> decode_url(std::string_view text, UrlPart part);

}  // namespace gpupool
