// The two sides of a large pool, for bench/cluster_run.py, which starts a real broker between them:
// many real workers in one process, and a client that offers jobs at a fixed pace, or that kills a
// process of workers and sees when their jobs run elsewhere. Each prints one JSON object.

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "actors/describe.h"
#include "actors/network.h"
#include "actors/request_id.h"
#include "actors/worker/worker_actor.h"
#include "base/clock.h"
#include "base/prng.h"
#include "bench/measure.h"
#include "net/sockets.h"
#include "net/wire.h"

namespace gpupool {
namespace {

using bench::Clock;
using bench::us_since;
using Json = nlohmann::json;

constexpr double patience_us = 60e6;

[[noreturn]] void give_up(const std::string& why) { bench::give_up("bench_cluster", why); }

// ---- Workers ---------------------------------------------------------------------------------

struct WorkersPlan {
  std::string build;   // the broker's
  std::string broker;  // address
  std::filesystem::path folder;
  std::uint32_t first = 0;
  std::uint32_t count = 1;
  std::uint32_t slots = 8;
};

Config worker_config(const WorkersPlan& plan, std::uint32_t number) {
  Config config = default_config();
  config.broker_role = false;
  config.apps = {{.name = "nothing", .executor = ExecutorKind::noop}};
  config.worker.name = "node-" + std::to_string(number);
  config.worker.broker_addresses = {plan.broker};
  config.worker.folder = (plan.folder / std::to_string(number)).string();
  config.worker.devices = {{.threads = 1, .slots = plan.slots}};
  return config;
}

// Everything that a worker's process has, so many times over: the shell, its store of results, and
// the host of its executors with its thread. Only CAF's threads and its connection are shared.
int run_workers(const WorkersPlan& plan) {
  NetworkConfig system_config{ClusterConfig{}};
  caf::actor_system system(system_config);
  std::deque<LiveConfig> configs;
  std::vector<WorkerParts> parts;
  for (std::uint32_t i = 0; i < plan.count; ++i) {
    configs.emplace_back(worker_config(plan, plan.first + i));
    auto worker =
        spawn_worker(system, Surroundings{configs.back(), boot_time, std::make_shared<Directory>()},
                     {}, plan.build, std::string(32, 'b'));
    if (!worker) give_up("a worker cannot start: " + describe(worker.error()));
    parts.push_back(std::move(*worker));
  }
  std::cout << Json{{"workers", plan.count}} << std::endl;
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  std::_Exit(0);  // CAF's shutdown can hang
}

// ---- Clients ---------------------------------------------------------------------------------

// One job as its client sees it.
struct Followed {
  Clock::time_point due;  // when it was to be submitted
  bool answered = false;
  bool started = false;
  std::uint32_t attempt = 0;  // that started last
  std::string node;           // where
};

// What is heard of jobs, over all connections.
struct Heard {
  std::vector<double> dispatched_us;  // from when a job was due until it was told to start
  std::vector<double> ended_us;       // until its receipt
  // A job that had started on the first node starts again.
  std::function<void(const std::string& node)> moved;
  std::size_t refused = 0;
};

class Connection {
 public:
  static constexpr std::size_t unanswered_most = 48;

  Connection(const ZmqContext& context, const std::string& endpoint, const std::string& token,
             std::uint64_t seed)
      : socket_{zmq_socket(context.get(), ZMQ_DEALER)}, random_(seed) {
    set_option(socket_, ZMQ_LINGER, 0);
    set_option(socket_, ZMQ_SNDHWM, 0);
    set_option(socket_, ZMQ_RCVHWM, 0);
    if (zmq_connect(socket_.get(), endpoint.c_str()) != 0) give_up("cannot connect");
    send(Hello{.token = token, .program = "bench_cluster"});
    zmq_pollitem_t item{socket_.get(), 0, ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, 10'000);
    ZmqMessage answer;
    if (!answer.receive(socket_)) give_up("no pool answers at " + endpoint);
    const auto welcome = decode_from_pool(answer.bytes());
    if (!welcome || !std::holds_alternative<SessionWelcome>(*welcome)) give_up("not welcomed");
  }

  void* handle() const { return socket_.get(); }
  std::size_t under_way() const { return jobs_.size(); }
  std::size_t waiting() const { return waiting_; }
  // A session may have only so many unanswered questions.
  bool may_submit() const { return unanswered_ < unanswered_most; }

  void submit(Clock::time_point due) {
    const RequestId id = make_request_id(wall_time(), {random_.next(), random_.next()});
    jobs_[id.low].due = due;
    ++unanswered_;
    send(ClientSubmit{
        .query = ++query_, .request = id, .body = {.app = "nothing", .declared = seconds(1)}});
  }
  void ping() { send(ClientPing{.query = ++query_}); }

  void take(Heard& heard) {
    for (ZmqMessage frame; frame.receive(socket_);) {
      const auto message = decode_from_pool(frame.bytes());
      if (!message) give_up("a frame cannot be read");
      if (const auto* event = std::get_if<JobEvent>(&*message)) take(*event, heard);
      if (const auto* done = std::get_if<JobDone>(&*message)) take(*done, heard);
      if (const auto* refused = std::get_if<SessionRefused>(&*message))
        give_up("refused: " + refused->refusal.sentence);
      if (const auto* error = std::get_if<SessionError>(&*message))
        give_up("error: " + std::string(name_of(error->code)) + " " + error->detail);
    }
  }

 private:
  void take(const JobEvent& event, Heard& heard) {
    const auto found = jobs_.find(event.request.low);
    if (found == jobs_.end()) return;
    Followed& job = found->second;
    if (!std::exchange(job.answered, true)) --unanswered_;
    if (event.state == JobState::queued && event.attempt == 0 && event.hold->job) ++waiting_;
    if (event.state != JobState::starting && event.state != JobState::running) return;
    if (event.attempt <= job.attempt) return;
    if (!job.started) heard.dispatched_us.push_back(us_since(job.due));
    if (job.started && heard.moved) heard.moved(job.node);
    job.started = true;
    job.attempt = event.attempt;
    job.node = event.node;
  }
  void take(const JobDone& done, Heard& heard) {
    const auto found = jobs_.find(done.receipt.request.low);
    if (found == jobs_.end()) return;
    if (!found->second.answered) --unanswered_;
    if (done.receipt.outcome != Outcome::succeeded) ++heard.refused;
    heard.ended_us.push_back(us_since(found->second.due));
    jobs_.erase(found);
  }
  void send(const FromClient& message) {
    const auto frame = encode(message);
    if (!frame) give_up("a message is too large");
    zmq_send(socket_.get(), frame->data(), frame->size(), 0);
  }

  ZmqSocket socket_;
  Prng random_;
  std::uint64_t query_ = 0;
  std::size_t waiting_ = 0;
  std::size_t unanswered_ = 0;
  std::unordered_map<std::uint64_t, Followed> jobs_;
};

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// So many connections, listened to together.
class Crowd {
 public:
  Crowd(const std::string& endpoint, const std::string& tokens, std::size_t connections) {
    const auto names = lines_of(tokens);
    if (names.empty()) give_up("no tokens in " + tokens);
    for (std::size_t i = 0; i < connections; ++i) {
      connections_.push_back(
          std::make_unique<Connection>(context_, endpoint, names[i % names.size()],
                                       i + static_cast<std::uint64_t>(wall_time().ms) * 1'000));
      items_.push_back({connections_.back()->handle(), 0, ZMQ_POLLIN, 0});
    }
  }

  // False: every connection waits for too many answers.
  bool submit(Clock::time_point due) {
    for (std::size_t tried = 0; tried < connections_.size(); ++tried) {
      Connection& one = *connections_[next_++ % connections_.size()];
      if (!one.may_submit()) continue;
      one.submit(due);
      return true;
    }
    return false;
  }
  // Waits for so long at most, and takes what has come.
  void listen(long wait_ms, Heard& heard) {
    zmq_poll(items_.data(), static_cast<int>(items_.size()), wait_ms);
    for (std::size_t i = 0; i < items_.size(); ++i)
      if (items_[i].revents != 0) connections_[i]->take(heard);
    if (us_since(pinged_) < 1e6) return;
    pinged_ = Clock::now();
    for (const auto& one : connections_) one->ping();
  }
  std::size_t under_way() const {
    std::size_t jobs = 0;
    for (const auto& one : connections_) jobs += one->under_way();
    return jobs;
  }
  std::size_t waiting() const {
    std::size_t jobs = 0;
    for (const auto& one : connections_) jobs += one->waiting();
    return jobs;
  }

 private:
  ZmqContext context_{zmq_ctx_new()};
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<zmq_pollitem_t> items_;
  std::size_t next_ = 0;
  Clock::time_point pinged_ = Clock::now();
};

constexpr std::size_t clients = 32;

// So that as many are under way as there should be, or as may be asked for at once.
void fill(Crowd& crowd, std::size_t outstanding) {
  for (std::size_t under_way = crowd.under_way(); under_way < outstanding; ++under_way)
    if (!crowd.submit(Clock::now())) return;
}

Json figures(Heard& heard, double seconds) {
  return {{"jobs_per_s", static_cast<double>(heard.ended_us.size()) / seconds},
          {"dispatch_p50_ms", bench::percentile(heard.dispatched_us, 0.5) / 1e3},
          {"dispatch_p99_ms", bench::percentile(heard.dispatched_us, 0.99) / 1e3},
          {"done_p50_ms", bench::percentile(heard.ended_us, 0.5) / 1e3},
          {"done_p99_ms", bench::percentile(heard.ended_us, 0.99) / 1e3},
          {"failed", heard.refused}};
}

// Open loop: a job is due every 1/rate, whatever became of those before it, and its time counts
// from then. The first second is not counted.
void offer(Crowd& crowd, double rate, double seconds) {
  Heard heard;
  const auto begin = Clock::now();
  Clock::time_point counted = begin;
  std::uint64_t submitted = 0;
  bool is_warm = false;
  while (us_since(begin) < (seconds + 1) * 1e6) {
    const auto due_by_now = static_cast<std::uint64_t>(us_since(begin) * rate / 1e6);
    for (; submitted < due_by_now; ++submitted) {
      const double after_us = static_cast<double>(submitted) * 1e6 / rate;
      if (!crowd.submit(begin + std::chrono::microseconds(static_cast<std::int64_t>(after_us))))
        break;
    }
    crowd.listen(1, heard);
    if (!is_warm && us_since(begin) > 1e6) {
      is_warm = true;
      counted = Clock::now();
      heard = {};
    }
  }
  const double took = us_since(counted) / 1e6;
  Json json = figures(heard, took);
  json["left_over"] = crowd.under_way();
  std::cout << json << "\n";
}

// Closed loop: so many jobs are under way at all times.
void keep(Crowd& crowd, std::size_t outstanding, double seconds) {
  Heard heard;
  auto begin = Clock::now();
  bool is_warm = false;
  while (us_since(begin) < seconds * 1e6) {
    fill(crowd, outstanding);
    crowd.listen(100, heard);
    if (!is_warm && us_since(begin) > 1e6) {
      is_warm = true;
      begin = Clock::now();
      heard = {};
    }
  }
  std::cout << figures(heard, us_since(begin) / 1e6) << "\n";
}

void signal_all(const std::vector<pid_t>& processes, int signal) {
  for (const pid_t process : processes)
    if (::kill(process, signal) != 0) give_up("workers are gone already");
}

// The time from the loss of a process of workers to the moment when the first of each node's jobs
// is given to another one. Runs that take no time would be over before: so all workers stand still
// for a moment, in which every slot is lent, and the first process never wakes up again. Its loss
// counts from when it fell silent.
void lose(Crowd& crowd, std::size_t jobs, const std::vector<pid_t>& workers) {
  constexpr double still_us = 1.5e6;  // shorter than what makes a lease stale
  constexpr double watched_us = 12e6;
  std::map<std::string, double> first_moved;
  Heard heard;
  const auto silent = Clock::now();
  heard.moved = [&](const std::string& node) {
    first_moved.try_emplace(node, us_since(silent) / 1e6);
  };
  signal_all(workers, SIGSTOP);
  for (std::size_t asked = 0; us_since(silent) < still_us;) {
    while (asked < jobs && crowd.submit(Clock::now())) ++asked;
    crowd.listen(5, heard);
  }
  const std::size_t started = heard.dispatched_us.size();
  if (::kill(workers.front(), SIGKILL) != 0) give_up("workers are gone already");
  signal_all({workers.begin() + 1, workers.end()}, SIGCONT);
  while (us_since(silent) < watched_us) crowd.listen(10, heard);
  for (const auto end = Clock::now(); crowd.under_way() > 0;) {
    if (us_since(end) > patience_us) give_up("jobs of the lost nodes did not end");
    crowd.listen(100, heard);
  }
  Json seconds = Json::object();
  for (const auto& [node, after] : first_moved) seconds[node] = after;
  std::cout << Json{{"moved_s", seconds}, {"started", started}, {"failed", heard.refused}} << "\n";
}

// So many jobs that wait; keeps the connections until standard input ends.
void gather(Crowd& crowd, std::size_t jobs) {
  Heard heard;
  std::size_t submitted = 0;
  for (const auto begin = Clock::now(); crowd.waiting() < jobs;) {
    if (us_since(begin) > patience_us) give_up("not all jobs were queued");
    while (submitted < jobs && crowd.submit(Clock::now())) ++submitted;
    crowd.listen(10, heard);
  }
  std::cout << Json{{"queued", crowd.waiting()}} << std::endl;
  for (pollfd input{STDIN_FILENO, POLLIN, 0}; ::poll(&input, 1, 500) == 0;) crowd.listen(0, heard);
}

constexpr const char* usage =
    "usage: bench_cluster workers BUILD BROKER FOLDER FIRST COUNT SLOTS\n"
    "       bench_cluster offer ENDPOINT TOKENS_FILE JOBS_PER_S SECONDS\n"
    "       bench_cluster keep ENDPOINT TOKENS_FILE OUTSTANDING SECONDS\n"
    "       bench_cluster lose ENDPOINT TOKENS_FILE JOBS PID_TO_LOSE OTHER_PIDS...\n"
    "       bench_cluster gather ENDPOINT TOKENS_FILE JOBS CONNECTIONS\n";

std::uint32_t number(const std::string& word) {
  return static_cast<std::uint32_t>(std::strtoul(word.c_str(), nullptr, 10));
}

std::vector<pid_t> workers_of(const std::vector<std::string>& words) {
  std::vector<pid_t> workers;
  for (std::size_t i = 4; i < words.size(); ++i)
    workers.push_back(static_cast<pid_t>(number(words[i])));
  return workers;
}

int run(const std::vector<std::string>& words) {
  if (words.size() == 7 && words[0] == "workers")
    return run_workers({.build = words[1],
                        .broker = words[2],
                        .folder = words[3],
                        .first = number(words[4]),
                        .count = number(words[5]),
                        .slots = number(words[6])});
  const bool is_loss = words.size() > 5 && words[0] == "lose";
  if (words.size() != 5 && !is_loss) {
    std::cerr << usage;
    return 2;
  }
  const std::string& what = words[0];
  Crowd crowd(words[1], words[2], what == "gather" ? number(words[4]) : clients);
  if (what == "offer")
    offer(crowd, std::atof(words[3].c_str()), std::atof(words[4].c_str()));
  else if (what == "keep")
    keep(crowd, number(words[3]), std::atof(words[4].c_str()));
  else if (what == "lose")
    lose(crowd, number(words[3]), workers_of(words));
  else if (what == "gather")
    gather(crowd, number(words[3]));
  else
    give_up(std::string("unknown: ") + what + "\n" + usage);
  return 0;
}

}  // namespace
}  // namespace gpupool

int main(int count, char** words) { return gpupool::run({words + 1, words + count}); }
