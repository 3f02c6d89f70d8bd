// Measures the ledger: its core alone, and durable holds and settles through its actor, beside what
// the disk and a plain database can do. 10,000 accounts, requests of 200 bytes; an operation is a
// hold or a settle. Prints one JSON object; bench/run takes the turns and makes the table.

#include <sqlite3.h>
#include <sys/resource.h>

#include <filesystem>
#include <future>
#include <iostream>
#include <memory>

#include "actors/ledger/journal_sqlite.h"
#include "actors/ledger/ledger_actor.h"
#include "base/clock.h"
#include "base/prng.h"
#include "bench/measure.h"

namespace gpupool {
namespace {

using bench::Clock;
using bench::Rate;
using bench::us_since;

constexpr std::size_t account_count = 10'000;
constexpr Duration declared = seconds(60);

[[noreturn]] void give_up(const std::string& why) { bench::give_up("bench_ledger", why); }

Config bench_config() {
  Config config = default_config();
  config.tiers = {{.name = "bench",
                   .allowance = {1'000'000'000'000},
                   .longest = {300'000},
                   .jobs_max = 1'000'000}};
  return config;
}

// Requests that a broker has found good. A run of the same seed makes the same ones.
class Wishes {
 public:
  explicit Wishes(std::uint64_t seed) : random_(seed) {}

  Reserve next(Instant now) {
    const std::uint64_t account = random_.below(account_count);
    return {.ticket = ++ticket_,
            .epoch = {1},
            .caller = {.account = {"user:" + std::to_string(account)},
                       .tier = "bench",
                       .recognised_by = "token for user " + std::to_string(account) + ", key k1"},
            .request = {.high = (static_cast<std::uint64_t>(now.ms) << 16U) | 0x7000U,
                        .low = random_.next() | 0x8000'0000'0000'0000U},
            .body = {.app = "emoji", .declared = declared, .arguments = {{"prompt", prompt_}}},
            .body_hash = 7,
            .partition = "default",
            .size = "large",
            .declared = declared,
            .occupancy = declared + seconds(37),
            .app_longest = seconds(300),
            .promise = now + seconds(100)};
  }

  static Settle settle_of(JobId job, Instant now) {
    return {.epoch = {1},
            .job = job,
            .outcome = Outcome::succeeded,
            .ran = seconds(4),
            .attempt = 1,
            .leased_at = now,
            .node = "node-1",
            .result = {.hash = std::string(64, 'a'), .bytes = 9'000, .media_type = "image/png"}};
  }

 private:
  Prng random_;
  std::uint64_t ticket_ = 0;
  const std::string prompt_ = std::string(160, 'p');  // 200 bytes, packed
};

const Held* held_in(const Effects& effects) {
  const auto* to =
      effects.send.empty() ? nullptr : std::get_if<ToBroker>(&effects.send.back().message);
  return to == nullptr ? nullptr : std::get_if<Held>(to);
}

// ---- The core alone --------------------------------------------------------------------------

// Rounds of 256 holds and their settles, as one batch each; making the requests is not counted.
nlohmann::json measure_core(double for_seconds) {
  const Config config = bench_config();
  Ledger ledger(config);
  Wishes wishes(1);
  Instant now{1'800'000'000'000};
  ledger.step(now, Lead{});
  constexpr std::size_t batch = 256;
  double counted_us = 0;
  std::uint64_t operations = 0;
  std::uint64_t jobs = 0;
  const auto begin = Clock::now();
  while (us_since(begin) < for_seconds * 1e6) {
    now = now + milliseconds(20);
    std::vector<ToLedger> reserves;
    for (std::size_t i = 0; i < batch; ++i) reserves.emplace_back(wishes.next(now));
    std::vector<JobId> held;
    held.reserve(batch);
    const auto counted = Clock::now();
    ledger.begin_batch();
    for (const ToLedger& reserve : reserves) {
      const Effects effects = ledger.step(now, reserve);
      const Held* answer = held_in(effects);
      if (answer == nullptr) give_up("a hold was refused");
      held.push_back(answer->hold->job);
    }
    ledger.keep_batch();
    counted_us += us_since(counted);
    std::vector<ToLedger> settles;
    for (const JobId job : held) settles.emplace_back(Wishes::settle_of(job, now));
    const auto again = Clock::now();
    ledger.begin_batch();
    for (const ToLedger& settle : settles) ledger.step(now, settle);
    ledger.keep_batch();
    counted_us += us_since(again);
    operations += 2 * batch;
    jobs += batch;
  }
  return {{"ops_per_s", static_cast<double>(operations) / counted_us * 1e6}, {"jobs", jobs}};
}

// ---- Through the actor -----------------------------------------------------------------------

// Takes the broker's place: keeps so many commands under way, each job's hold followed by its
// settle, and measures from a command to its answer.
class Driver : public BrokerHandle::base {
 public:
  struct Plan {
    std::size_t outstanding = 1;
    double seconds = 5;
    std::promise<Rate>* done = nullptr;
  };
  Driver(caf::actor_config& config, LedgerHandle ledger, Plan plan)
      : BrokerHandle::base(config), ledger_(std::move(ledger)), plan_(plan), wishes_(1) {}

 private:
  behavior_type make_behavior() override {
    ask(Lead{.ticket = 1});
    return {[this](const Envelope<ToBroker>& envelope) {
      if (done_) return;
      if (std::holds_alternative<Leading>(envelope.message)) {
        begin_ = Clock::now();
        for (std::size_t i = 0; i < plan_.outstanding; ++i) hold();
      } else if (const auto* held = std::get_if<Held>(&envelope.message)) {
        note(asked_holds_, held->ticket);
        asked_settles_.emplace(held->hold->job.value, Clock::now());
        ask(Wishes::settle_of(held->hold->job, wall_time()));
      } else if (const auto* settled = std::get_if<Settled>(&envelope.message)) {
        note(asked_settles_, settled->job.value);
        hold();
      } else {
        give_up("the ledger refused a command");
      }
      end_when_due();
    }};
  }

  template <class Command>
  void ask(Command command) {
    send(ledger_, Envelope<ToLedger>{ToLedger{std::move(command)}});
  }
  void hold() {
    Reserve wish = wishes_.next(wall_time());
    asked_holds_.emplace(wish.ticket, Clock::now());
    ask(std::move(wish));
  }
  void note(std::unordered_map<std::uint64_t, Clock::time_point>& asked, std::uint64_t key) {
    const auto found = asked.find(key);
    latencies_.push_back(us_since(found->second));
    asked.erase(found);
  }
  void end_when_due() {
    if (!warm_ && us_since(begin_) > 5e5) {  // the first half second is not counted
      warm_ = true;
      latencies_.clear();
      begin_ = Clock::now();
    }
    if (!warm_ || us_since(begin_) < plan_.seconds * 1e6) return;
    done_ = true;
    plan_.done->set_value(bench::rate_of(std::move(latencies_), us_since(begin_) / 1e6));
    quit();
  }

  const LedgerHandle ledger_;
  const Plan plan_;
  Wishes wishes_;
  bool warm_ = false;
  bool done_ = false;
  Clock::time_point begin_;
  std::unordered_map<std::uint64_t, Clock::time_point> asked_holds_;
  std::unordered_map<std::uint64_t, Clock::time_point> asked_settles_;
  std::vector<double> latencies_;
};

struct SystemConfig : caf::actor_system_config {
  SystemConfig() {
    announce_messages(*this);
    set("scheduler.max-threads", std::size_t{1});
  }
};

nlohmann::json measure_actor(const std::string& path, std::size_t outstanding, double for_seconds) {
  auto journal = JournalSqlite::open(path);
  if (!journal) give_up(journal.error().detail);
  const LiveConfig live{bench_config()};
  SystemConfig settings;
  caf::actor_system system{settings};
  auto directory = std::make_shared<Directory>();
  auto commits = std::make_unique<GroupCommit>(live.current(), **journal);
  if (const auto recovered = commits->recover(); !recovered) give_up(recovered.error().detail);
  std::uint64_t count = 0;
  const LedgerEvents events{.stamp =
                                [&count] {
                                  ++count;
                                  return ClockStamp{
                                      .wall = wall_time(), .boot = boot_time(), .boot_id = "bench"};
                                },
                            .refused = [](const Error& error) { give_up(error.detail); },
                            .in_doubt = [](const Error& error) { give_up(error.detail); }};
  const Surroundings around{live, wall_time, directory};
  directory->set_ledger(spawn_ledger(system, around, events, std::move(commits)));
  std::promise<Rate> done;
  directory->set_broker(system.spawn<Driver>(
      directory->ledger(),
      Driver::Plan{.outstanding = outstanding, .seconds = for_seconds, .done = &done}));
  const Rate rate = done.get_future().get();
  caf::anon_send_exit(directory->ledger(), caf::exit_reason::user_shutdown);
  directory->clear();
  nlohmann::json json = bench::json_of(rate, "ops");
  json["commits"] = count;
  return json;
}

int run(const std::vector<std::string>& words) {
  if (words.size() == 2 && words[0] == "core") {
    std::cout << measure_core(std::atof(words[1].c_str())) << "\n";
  } else if (words.size() == 4 && words[0] == "actor") {
    std::cout << measure_actor(words[1], std::stoul(words[2]), std::atof(words[3].c_str())) << "\n";
  } else if (words.size() == 3 && words[0] == "fdatasync") {
    std::cout << bench::json_of(bench::measure_fdatasync(words[1], std::atof(words[2].c_str())),
                                "syncs")
              << "\n";
  } else {
    std::cerr << "usage: bench_ledger core SECONDS\n"
                 "       bench_ledger actor FILE OUTSTANDING SECONDS\n"
                 "       bench_ledger fdatasync FOLDER SECONDS\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace gpupool

int main(int count, char** words) { return gpupool::run({words + 1, words + count}); }
