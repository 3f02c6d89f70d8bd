// bench_queue pop N | heap N | set N: nanoseconds of one pop and one push with N jobs queued, of
// the broker's queue and of its peers, over random durations, ranks and bands of the short lane.
// broker N: jobs a second through the broker's core with N queued on one node of 8 slots.
// nodes N: likewise with N such nodes, and no more jobs than half of their slots.

#include "actors/broker/queue.h"

#include <cstdlib>
#include <iostream>
#include <queue>
#include <set>
#include <string>
#include <tuple>

#include "actors/broker/broker.h"
#include "base/prng.h"
#include "bench/measure.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

constexpr int rounds = 2'000'000;

Waiting next_job(Prng& random, std::uint64_t job) {
  return {.job = {job},
          .declared = seconds(random.between(1, 300)),
          .occupancy = seconds(340),
          .tier_rank = static_cast<std::uint32_t>(random.below(3)),
          .quota_band = static_cast<std::uint32_t>(random.below(8))};
}

auto rank_of(const Waiting& one) {
  return std::tuple(one.declared, -std::int64_t{one.tier_rank}, -std::int64_t{one.quota_band},
                    one.job);
}

// The jobs are drawn before the clock starts.
template <class Push, class Pop>
double measure(std::size_t queued, const Push& push, const Pop& pop) {
  Prng random(7);
  std::vector<Waiting> coming;
  for (std::uint64_t job = 1; job <= queued + rounds; ++job)
    coming.push_back(next_job(random, job));
  std::size_t at = 0;
  while (at < queued) push(coming[at++]);
  const auto begin = Clock::now();
  for (int i = 0; i < rounds; ++i) {
    pop();
    push(coming[at++]);
  }
  return us_since(begin) * 1000 / rounds;
}

double measure_ours(std::size_t queued) {
  Queue queue;
  const auto every_shape = [](const Shape&) { return true; };
  return measure(
      queued, [&](const Waiting& one) { queue.push(one); },
      [&] { queue.take_first(Lane::shortest, queue.first(Lane::shortest, every_shape)->shape); });
}

struct RanksAfter {
  bool operator()(const Waiting& a, const Waiting& b) const { return rank_of(b) < rank_of(a); }
};
struct RanksBefore {
  bool operator()(const Waiting& a, const Waiting& b) const { return rank_of(a) < rank_of(b); }
};

double measure_heap(std::size_t queued) {
  std::priority_queue<Waiting, std::vector<Waiting>, RanksAfter> heap;
  return measure(
      queued, [&](const Waiting& one) { heap.push(one); }, [&] { heap.pop(); });
}

double measure_set(std::size_t queued) {
  std::set<Waiting, RanksBefore> set;
  return measure(
      queued, [&](const Waiting& one) { set.insert(one); }, [&] { set.erase(set.begin()); });
}

// ---- The broker's core -------------------------------------------------------------------------

// Its ledger and its only worker, as short as can be: every command is granted at once.
class BrokerBench {
 public:
  explicit BrokerBench(std::uint64_t nodes = 1)
      : config_(default_config()), broker_(config_, "bench"), random_(3) {
    config_.apps = {{.name = "nothing", .executor = ExecutorKind::noop}};
    config_.broker.queue_max = 2'000'000;
    broker_.start(now_);
    broker_.step(now_, Leading{.ticket = 1, .epoch = {1}});
    for (std::uint64_t node = 1; node <= nodes; ++node) {
      Join join{.node = {node},
                .name = "node-" + std::to_string(node),
                .incarnation = {1},
                .build = "bench",
                .heartbeat = 1};
      for (std::uint32_t i = 0; i < 8; ++i)
        join.slots.push_back({.slot = {i}, .device = i, .state = SlotState::free});
      look(broker_.step(now_, join));
    }
  }

  void submit() {
    const std::uint64_t number = ++submitted_;
    now_ = now_ + milliseconds(1);
    look(broker_.step(
        now_,
        Submit{.session = {1 + number % 10'000},
               .query = number,
               .caller = {.account = {"user:" + std::to_string(number % 10'000)}, .tier = "pro"},
               .request = {.high = number, .low = number},
               .body = {.app = "nothing",
                        .declared = seconds(random_.between(1, 300)),
                        .detached = true}}));
    look(broker_.step(now_, Held{.ticket = asked_.ticket, .hold = hold()}));
  }
  void end_one() {
    const Lease lease = leases_.front();
    leases_.pop();
    look(broker_.step(now_, RunEnded{.node = lease.node,
                                     .job = lease.job,
                                     .attempt = lease.attempt,
                                     .epoch = {1},
                                     .outcome = Outcome::succeeded,
                                     .ran = seconds(1),
                                     .slots_free = true}));
    Settled settled;
    settled.settled.job = lease.job;
    look(broker_.step(now_, std::move(settled)));
  }

 private:
  Hold hold() const {
    return {.job = {submitted_},
            .request = asked_.request,
            .account = asked_.caller.account,
            .tier = asked_.caller.tier,
            .body = asked_.body,
            .partition = asked_.partition,
            .slots = asked_.slots,
            .declared = asked_.declared,
            .occupancy = asked_.occupancy,
            .tier_rank = static_cast<std::uint32_t>(submitted_ % 3),
            .quota_band = static_cast<std::uint32_t>(submitted_ % 8),
            .promise = asked_.promise};
  }
  void look(Effects effects) {
    for (Send& send : effects.send) {
      if (auto* ledger = std::get_if<ToLedger>(&send.message))
        if (auto* reserve = std::get_if<Reserve>(ledger)) asked_ = std::move(*reserve);
      if (auto* worker = std::get_if<ToWorker>(&send.message))
        if (auto* lease = std::get_if<Lease>(worker)) leases_.push(std::move(*lease));
    }
  }

  Config config_;
  Broker broker_;
  Prng random_;
  Instant now_{1'800'000'000'000};
  std::uint64_t submitted_ = 0;
  Reserve asked_;
  std::queue<Lease> leases_;
};

double measure_broker(std::size_t queued) {
  constexpr int jobs = 500'000;
  BrokerBench bench;
  for (std::size_t i = 0; i < queued; ++i) bench.submit();
  const auto begin = Clock::now();
  for (int i = 0; i < jobs; ++i) {
    bench.submit();
    bench.end_one();
  }
  return jobs / us_since(begin) * 1e6;
}

double measure_nodes(std::uint64_t nodes) {
  constexpr int jobs = 50'000;
  BrokerBench bench(nodes);
  for (std::uint64_t i = 0; i < nodes * 4; ++i) bench.submit();
  const auto begin = Clock::now();
  for (int i = 0; i < jobs; ++i) {
    bench.submit();
    bench.end_one();
  }
  return jobs / us_since(begin) * 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc == 3 ? argv[1] : "";
  const std::size_t queued = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 0;
  nlohmann::json json;
  if (what == "pop" && queued > 0)
    json["ns"] = measure_ours(queued);
  else if (what == "heap" && queued > 0)
    json["ns"] = measure_heap(queued);
  else if (what == "set" && queued > 0)
    json["ns"] = measure_set(queued);
  else if (what == "broker" && queued > 0)
    json["jobs_per_s"] = measure_broker(queued);
  else if (what == "nodes" && queued > 0)
    json["jobs_per_s"] = measure_nodes(queued);
  else
    give_up("bench_queue", "usage: bench_queue pop|heap|set|broker|nodes N");
  std::cout << json << "\n";
}
