// The device API's visitors: so many connections that each ask for a slot, in turn at a given rate
// or each as soon as the last answer came, and give it back; or so many that wait in streams. One
// thread, so that it takes little of what it measures. Prints one line of JSON.
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <deque>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/measure.h"

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using gpupool::bench::Clock;
using gpupool::bench::percentile;

struct Options {
  std::string mode;  // "schedule" or "streams"
  std::string host;
  std::string port;
  std::string prefix;
  std::vector<std::string> tokens;
  std::size_t connections = 0;
  double rate = 0;  // a second, of all together; 0: as fast as it goes
  double seconds = 0;
};

struct Totals {
  std::vector<double> schedule_ms;
  std::size_t other = 0;  // answers that were no grant
  std::size_t streaming = 0;
  std::string first_other;
};

// One visitor's connection, which is kept open between requests.
class Visitor : public std::enable_shared_from_this<Visitor> {
 public:
  Visitor(asio::io_context& context, const Options& options, std::string token, Totals& totals)
      : options_(options), token_(std::move(token)), totals_(totals), socket_(context) {}

  void connect(const tcp::resolver::results_type& where) {
    asio::connect(socket_, where);
    socket_.set_option(tcp::no_delay(true));
  }
  bool is_busy() const { return busy_; }

  void schedule(std::function<void()> then) {
    busy_ = true;
    then_ = std::move(then);
    const auto asked = Clock::now();
    ask("/schedule?cgroupPath=%2F&taskId=1&enableQueue=true&durationSeconds=20&token=" + token_,
        [this, asked](int status, const std::string& body) {
          const std::chrono::duration<double, std::milli> took = Clock::now() - asked;
          const auto at = body.find("\"allowToken\":\"");
          if (status != 200 || at == std::string::npos) {
            if (totals_.other++ == 0) totals_.first_other = std::to_string(status) + " " + body;
            return done();
          }
          totals_.schedule_ms.push_back(took.count());
          const auto from = at + 14;
          ask("/release?fail=false&allowToken=" + body.substr(from, body.find('"', from) - from),
              [this](int, const std::string&) { done(); });
        });
  }

  // Reads what comes, and says when the stream is there.
  void wait_in_stream() {
    write("/schedule?cgroupPath=%2F&taskId=1&enableQueue=true&durationSeconds=20&token=" + token_);
    read_on();
  }

 private:
  using Answered = std::function<void(int, const std::string&)>;

  void done() {
    busy_ = false;
    if (const auto then = std::exchange(then_, nullptr)) then();
  }
  void write(const std::string& target) {
    request_ =
        "POST " + options_.prefix + target + " HTTP/1.1\r\nHost: pool\r\nContent-Length: 0\r\n\r\n";
    asio::async_write(socket_, asio::buffer(request_),
                      [self = shared_from_this()](boost::system::error_code, std::size_t) {});
  }
  void ask(const std::string& target, Answered answered) {
    write(target);
    asio::async_read_until(
        socket_, asio::dynamic_buffer(buffer_), "\r\n\r\n",
        [self = shared_from_this(), answered](boost::system::error_code error, std::size_t size) {
          if (error) return answered(0, error.message());
          const std::string head = self->buffer_.substr(0, size);
          self->buffer_.erase(0, size);
          const auto at = head.find("Content-Length: ");
          const std::size_t length = at == std::string::npos ? 0 : std::stoul(head.substr(at + 16));
          self->read_body(std::stoi(head.substr(9, 3)), length, answered);
        });
  }
  void read_body(int status, std::size_t length, const Answered& answered) {
    if (buffer_.size() >= length) {
      const std::string body = buffer_.substr(0, length);
      buffer_.erase(0, length);
      return answered(status, body);
    }
    asio::async_read(
        socket_, asio::dynamic_buffer(buffer_), asio::transfer_at_least(length - buffer_.size()),
        [self = shared_from_this(), status, length, answered](boost::system::error_code error,
                                                              std::size_t) {
          error ? answered(0, error.message()) : self->read_body(status, length, answered);
        });
  }
  void read_on() {
    socket_.async_read_some(
        asio::buffer(piece_),
        [self = shared_from_this()](boost::system::error_code error, std::size_t size) {
          const std::string_view text(self->piece_.data(), size);
          if (!self->busy_ && text.find("text/event-stream") != std::string_view::npos) {
            self->busy_ = true;
            ++self->totals_.streaming;
          } else if (!self->busy_ && self->totals_.other++ == 0) {
            self->totals_.first_other = std::string(text.substr(0, 60));
          }
          if (error && self->busy_) --self->totals_.streaming;
          if (!error) self->read_on();
        });
  }

  const Options& options_;
  const std::string token_;
  Totals& totals_;
  tcp::socket socket_;
  std::string request_;
  std::string buffer_;
  std::array<char, 512> piece_{};
  bool busy_ = false;
  std::function<void()> then_;
};

void run_schedules(asio::io_context& context, const Options& options,
                   const std::vector<std::shared_ptr<Visitor>>& visitors) {
  const auto ends = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                       std::chrono::duration<double>(options.seconds));
  if (options.rate <= 0) {
    for (const auto& visitor : visitors) {
      const auto again = std::make_shared<std::function<void()>>();
      *again = [visitor, again, ends] {
        if (Clock::now() < ends) visitor->schedule(*again);
      };
      (*again)();
    }
    context.run();
    return;
  }
  // At its rate whatever the answers take; whose last one is still out is passed over.
  const auto timer = std::make_shared<asio::steady_timer>(context);
  const auto interval =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / options.rate));
  std::size_t next = 0;
  std::function<void()> tick = [&] {
    for (std::size_t tried = 0; tried < visitors.size(); ++tried) {
      const auto& visitor = visitors[next++ % visitors.size()];
      if (visitor->is_busy()) continue;
      visitor->schedule(nullptr);
      break;
    }
    if (Clock::now() >= ends) return;
    timer->expires_at(timer->expiry() + interval);
    timer->async_wait([&](boost::system::error_code) { tick(); });
  };
  timer->expires_after(interval);
  timer->async_wait([&](boost::system::error_code) { tick(); });
  context.run();
}

Options read_options(char** argv) {
  Options options{.mode = argv[1], .host = argv[2], .port = argv[3], .prefix = argv[4]};
  std::ifstream tokens(argv[5]);
  for (std::string token; std::getline(tokens, token);) options.tokens.push_back(token);
  options.connections = std::stoul(argv[6]);
  options.rate = std::stod(argv[7]);
  options.seconds = std::stod(argv[8]);
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 9) {
    std::cerr << "bench_http schedule|streams HOST PORT PREFIX TOKENS CONNECTIONS RATE SECONDS\n";
    return 2;
  }
  const Options options = read_options(argv);
  asio::io_context context;
  Totals totals;
  const auto where = tcp::resolver(context).resolve(options.host, options.port);
  std::vector<std::shared_ptr<Visitor>> visitors;
  for (std::size_t i = 0; i < options.connections; ++i) {
    visitors.push_back(std::make_shared<Visitor>(
        context, options, options.tokens[i % options.tokens.size()], totals));
    visitors.back()->connect(where);
  }
  if (options.mode == "schedule") {
    run_schedules(context, options, visitors);
  } else {
    for (const auto& visitor : visitors) visitor->wait_in_stream();
    context.run_for(std::chrono::milliseconds(static_cast<std::int64_t>(options.seconds * 1e3)));
  }
  std::cout << nlohmann::json{{"answers", totals.schedule_ms.size()},
                              {"p50_ms", percentile(totals.schedule_ms, 0.5)},
                              {"p99_ms", percentile(totals.schedule_ms, 0.99)},
                              {"other", totals.other},
                              {"first_other", totals.first_other},
                              {"streaming", totals.streaming}}
            << std::endl;
  std::_Exit(0);  // the streams' ends are nobody's business
}
