// Measures how fast jobs pass through a pool: submits to a running gpupoold over the client
// protocol and waits for each job's receipt. Beside it, in the same run: a bare ZeroMQ relay
// (DEALER to ROUTER to DEALER and back, 64-byte bodies over loopback), and the disk's fdatasync.
// Prints one JSON object; bench/run starts the pool and makes the table.

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "actors/request_id.h"
#include "base/clock.h"
#include "base/prng.h"
#include "bench/measure.h"
#include "net/sockets.h"
#include "net/wire.h"

namespace gpupool {
namespace {

using bench::Clock;
using bench::Rate;
using bench::rate_of;
using bench::us_since;

using Json = nlohmann::json;

constexpr auto patience = std::chrono::seconds(20);

[[noreturn]] void give_up(const std::string& why) { bench::give_up("bench_dispatch", why); }

ZmqSocket socket_of(const ZmqContext& context, int type) {
  ZmqSocket socket{zmq_socket(context.get(), type)};
  if (!socket) give_up("no socket");
  set_option(socket, ZMQ_LINGER, 0);
  set_option(socket, ZMQ_SNDHWM, 0);
  set_option(socket, ZMQ_RCVHWM, 0);
  return socket;
}

// ---- The relay -------------------------------------------------------------------------------

// One thread owns a ROUTER and hands what the client sends to the echo, and back.
void relay(const ZmqSocket& router, const std::atomic<bool>& stop) {
  std::array<char, 16> name{};
  std::array<char, 256> body{};
  while (!stop) {
    zmq_pollitem_t item{router.get(), 0, ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, 50);
    for (;;) {
      const int name_bytes = zmq_recv(router.get(), name.data(), name.size(), ZMQ_DONTWAIT);
      if (name_bytes < 0) break;
      const int bytes = zmq_recv(router.get(), body.data(), body.size(), 0);
      const char* to = name[0] == 'c' ? "echo" : "clnt";
      zmq_send(router.get(), to, 4, ZMQ_SNDMORE);
      zmq_send(router.get(), body.data(), static_cast<std::size_t>(bytes), 0);
    }
  }
}

void echo(const ZmqSocket& dealer, const std::atomic<bool>& stop) {
  std::array<char, 256> body{};
  while (!stop) {
    zmq_pollitem_t item{dealer.get(), 0, ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, 50);
    for (int bytes = 0;
         (bytes = zmq_recv(dealer.get(), body.data(), body.size(), ZMQ_DONTWAIT)) >= 0;)
      zmq_send(dealer.get(), body.data(), static_cast<std::size_t>(bytes), 0);
  }
}

Rate measure_relay(int outstanding, double seconds) {
  const ZmqContext context{zmq_ctx_new()};
  const ZmqSocket router = socket_of(context, ZMQ_ROUTER);
  if (zmq_bind(router.get(), "tcp://127.0.0.1:*") != 0) give_up("the relay cannot listen");
  std::array<char, 256> endpoint{};
  std::size_t size = endpoint.size();
  zmq_getsockopt(router.get(), ZMQ_LAST_ENDPOINT, endpoint.data(), &size);
  const ZmqSocket client = socket_of(context, ZMQ_DEALER);
  const ZmqSocket worker = socket_of(context, ZMQ_DEALER);
  zmq_setsockopt(client.get(), ZMQ_ROUTING_ID, "clnt", 4);
  zmq_setsockopt(worker.get(), ZMQ_ROUTING_ID, "echo", 4);
  zmq_connect(worker.get(), endpoint.data());
  zmq_connect(client.get(), endpoint.data());
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // both are known to the router then

  std::atomic<bool> stop = false;
  std::thread relaying([&] { relay(router, stop); });
  std::thread echoing([&] { echo(worker, stop); });
  std::array<char, 64> body{};
  std::vector<double> latencies;
  const auto send = [&] {
    const auto now = Clock::now();
    std::memcpy(body.data(), &now, sizeof now);
    zmq_send(client.get(), body.data(), body.size(), 0);
  };
  const auto begin = Clock::now();
  for (int i = 0; i < outstanding; ++i) send();
  set_option(client, ZMQ_RCVTIMEO, 5'000);
  while (us_since(begin) < seconds * 1e6) {
    if (zmq_recv(client.get(), body.data(), body.size(), 0) < 0) give_up("the relay is silent");
    Clock::time_point sent;
    std::memcpy(&sent, body.data(), sizeof sent);
    latencies.push_back(us_since(sent));
    send();
  }
  const double took = us_since(begin) / 1e6;
  stop = true;
  relaying.join();
  echoing.join();
  return rate_of(std::move(latencies), took);
}

// ---- Jobs ------------------------------------------------------------------------------------

// One connection to the pool, with so many jobs under way.
class Load {
 public:
  Load(const ZmqContext& context, const std::string& endpoint, const std::string& token,
       std::uint64_t seed)
      : socket_(socket_of(context, ZMQ_DEALER)), random_(seed) {
    if (zmq_connect(socket_.get(), endpoint.c_str()) != 0) give_up("cannot connect");
    send(Hello{.token = token, .program = "bench_dispatch"});
    set_option(socket_, ZMQ_RCVTIMEO, 5'000);
    ZmqMessage answer;
    if (zmq_recv_wait(answer) < 0) give_up("no pool answers at " + endpoint);
    const auto welcome = decode_from_pool(answer.bytes());
    if (!welcome || !std::holds_alternative<SessionWelcome>(*welcome)) give_up("not welcomed");
  }

  void* handle() const { return socket_.get(); }
  std::size_t under_way() const { return sent_.size(); }
  // Jobs whose hold has come. Counted only on demand: it takes reading every event.
  void count_admissions() { counts_ = true; }
  std::size_t admitted() const { return admitted_; }

  void submit(const JobRequest& body) {
    const RequestId id = make_request_id(wall_time(), {random_.next(), random_.next()});
    sent_.emplace(id.low, Clock::now());
    send(ClientSubmit{.query = ++query_, .request = id, .body = body});
  }
  void ping() { send(ClientPing{.query = ++query_}); }

  // Takes what has arrived; the latency of every job that ended goes to `latencies`.
  void take(std::vector<double>& latencies) {
    for (ZmqMessage frame; frame.receive(socket_);) {
      if (static_cast<unsigned char>(frame.bytes()[1]) == job_event) {
        if (counts_) count(frame.bytes());
        continue;
      }
      const auto message = decode_from_pool(frame.bytes());
      if (!message) give_up("a frame cannot be read");
      if (const auto* refused = std::get_if<SessionRefused>(&*message))
        give_up("refused: " + refused->refusal.sentence);
      if (const auto* error = std::get_if<SessionError>(&*message))
        give_up("error: " + std::string(name_of(error->code)) + " " + error->detail);
      const auto* done = std::get_if<JobDone>(&*message);
      if (!done) continue;
      const auto found = sent_.find(done->receipt.request.low);
      if (found == sent_.end()) continue;
      latencies.push_back(us_since(found->second));
      sent_.erase(found);
    }
  }

 private:
  static constexpr unsigned char job_event = 71;

  void count(std::string_view frame) {
    const auto message = decode_from_pool(frame);
    const auto* event = message ? std::get_if<JobEvent>(&*message) : nullptr;
    if (event && event->hold->job) ++admitted_;
  }
  int zmq_recv_wait(ZmqMessage& message) {
    zmq_pollitem_t item{socket_.get(), 0, ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, 5'000);
    return message.receive(socket_) ? 0 : -1;
  }
  void send(const FromClient& message) {
    const auto frame = encode(message);
    if (!frame) give_up("a message is too large");
    zmq_send(socket_.get(), frame->data(), frame->size(), 0);
  }

  ZmqSocket socket_;
  Prng random_;
  std::uint64_t query_ = 0;
  bool counts_ = false;
  std::size_t admitted_ = 0;
  std::unordered_map<std::uint64_t, Clock::time_point> sent_;
};

struct JobsPlan {
  std::string endpoint;
  std::vector<std::string> tokens;
  std::size_t outstanding = 1;
  double seconds = 5;
};

// Keeps `outstanding` jobs under way, over as many connections as there are tokens or jobs.
Rate measure_jobs(const JobsPlan& plan) {
  const ZmqContext context{zmq_ctx_new()};
  std::vector<Load> loads;
  const std::size_t connections = std::min(plan.tokens.size(), plan.outstanding);
  for (std::size_t i = 0; i < connections; ++i)
    loads.emplace_back(context, plan.endpoint, plan.tokens[i],
                       i + static_cast<std::uint64_t>(wall_time().ms) * 1'000);
  const JobRequest body{.app = "nothing", .declared = seconds(1)};
  const std::size_t each = plan.outstanding / connections;
  std::vector<zmq_pollitem_t> items;
  for (const Load& load : loads) items.push_back({load.handle(), 0, ZMQ_POLLIN, 0});

  std::vector<double> latencies;
  auto begin = Clock::now();
  auto pinged = begin;
  auto heard = begin;
  bool warm = false;
  for (;;) {
    for (Load& load : loads)
      while (load.under_way() < each) load.submit(body);
    zmq_poll(items.data(), static_cast<int>(items.size()), 1'000);
    const std::size_t before = latencies.size();
    for (std::size_t i = 0; i < loads.size(); ++i)
      if (items[i].revents != 0) loads[i].take(latencies);
    const auto now = Clock::now();
    if (latencies.size() > before) heard = now;
    if (now - heard > patience) give_up("no job ended for 20 s");
    if (now - pinged > std::chrono::seconds(1)) {
      pinged = now;
      for (Load& load : loads) load.ping();
    }
    if (!warm && us_since(begin) > 1e6) {  // the first second is not counted
      warm = true;
      latencies.clear();
      begin = Clock::now();
    } else if (warm && us_since(begin) > plan.seconds * 1e6) {
      break;
    }
  }
  return rate_of(std::move(latencies), us_since(begin) / 1e6);
}

// Opens so many connections and submits so many jobs in all, which wait behind whatever occupies
// the pool; then keeps the connections until standard input ends, so that the daemon can be
// weighed.
void gather_crowd(const JobsPlan& plan, std::size_t connections) {
  const ZmqContext context{zmq_ctx_new()};
  zmq_ctx_set(context.get(), ZMQ_MAX_SOCKETS, static_cast<int>(connections) + 8);
  std::vector<Load> loads;
  for (std::size_t i = 0; i < connections; ++i) {
    loads.emplace_back(context, plan.endpoint, plan.tokens[i % plan.tokens.size()], i + 1);
    loads.back().count_admissions();
  }
  const JobRequest body{.app = "nothing", .declared = seconds(1)};
  constexpr std::size_t burst = 16;  // unanswered submits of one session
  std::vector<double> ended;
  std::size_t submitted = 0;
  while (submitted < plan.outstanding) {
    for (Load& load : loads) {
      load.take(ended);
      for (; load.under_way() < load.admitted() + burst && submitted < plan.outstanding;
           ++submitted)
        load.submit(body);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::size_t waiting = 0;
  for (auto begin = Clock::now(); us_since(begin) < plan.seconds * 1e6;) {
    waiting = 0;
    for (Load& load : loads) {
      load.ping();
      load.take(ended);
      waiting += load.admitted();
    }
    if (waiting == submitted) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  std::cout << Json{{"queued", waiting}} << std::endl;
  // Keeps the sessions alive, a ping a second, until whoever weighs them closes the input.
  for (pollfd input{STDIN_FILENO, POLLIN, 0}; ::poll(&input, 1, 1'000) == 0;)
    for (Load& load : loads) {
      load.ping();
      load.take(ended);
    }
}

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

constexpr const char* usage =
    "usage: bench_dispatch relay OUTSTANDING SECONDS\n"
    "       bench_dispatch fdatasync FOLDER SECONDS\n"
    "       bench_dispatch jobs ENDPOINT TOKENS_FILE OUTSTANDING SECONDS\n"
    "       bench_dispatch crowd ENDPOINT TOKENS_FILE JOBS SECONDS CONNECTIONS\n";

int run(const std::vector<std::string>& words) {
  if (words.size() == 3 && words[0] == "relay") {
    std::cout << bench::json_of(
                     measure_relay(std::atoi(words[1].c_str()), std::atof(words[2].c_str())),
                     "jobs")
              << "\n";
  } else if (words.size() == 3 && words[0] == "fdatasync") {
    std::cout << bench::json_of(bench::measure_fdatasync(words[1], std::atof(words[2].c_str())),
                                "jobs")
              << "\n";
  } else if ((words.size() == 5 && words[0] == "jobs") ||
             (words.size() == 6 && words[0] == "crowd")) {
    const JobsPlan plan{.endpoint = words[1],
                        .tokens = lines_of(words[2]),
                        .outstanding = static_cast<std::size_t>(std::atoi(words[3].c_str())),
                        .seconds = std::atof(words[4].c_str())};
    if (plan.tokens.empty() || plan.outstanding == 0) give_up("no tokens, or nothing to do");
    if (words[0] == "jobs")
      std::cout << bench::json_of(measure_jobs(plan), "jobs") << "\n";
    else
      gather_crowd(plan, std::stoul(words[5]));
  } else {
    std::cerr << usage;
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace gpupool

int main(int count, char** words) { return gpupool::run({words + 1, words + count}); }
