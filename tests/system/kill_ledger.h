#pragma once
// kill -9 of the daemon at random instants, in starts too, under as much load as its ledger gets:
// clients that keep many jobs going which cost no time, some with large requests. After every kill
// the ledger is audited as it lies there; at the end every hold and receipt that was acknowledged
// is in it, once.
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "actors/ledger/journal.h"
#include "actors/request_id.h"
#include "base/clock.h"
#include "base/prng.h"
#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {

// What differs between the journals that a pool can have.
struct KilledLedger {
  std::string settings;                                              // lines of [ledger]
  std::function<std::string(const PoolProcess&)> name;               // for `gpupool audit --ledger`
  std::function<std::unique_ptr<Journal>(const PoolProcess&)> open;  // while no daemon runs
  std::uint64_t rounds = 20;
  std::int64_t start_ms = 150;  // what a start takes, at most
};

constexpr std::size_t outstanding_most = 24;
constexpr int clients_count = 3;

// One account that keeps many jobs going, and remembers all that the pool acknowledged.
class Load {
 public:
  Load(const PoolProcess& pool, std::string user, std::uint64_t seed)
      : pool_(pool), user_(std::move(user)), prng_(seed), thread_([this] { run(); }) {}
  ~Load() { finish(); }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Asks for nothing new, and waits until what was asked for has its end.
  void finish() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  // Only after finish().
  const std::string& user() const { return user_; }
  const std::map<JobId, RequestId>& held() const { return held_; }
  const std::map<JobId, Receipt>& receipts() const { return receipts_; }
  const std::string& trouble() const { return trouble_; }

 private:
  void run() {
    auto client = patient_client(pool_, user_, prng_.next());
    if (!client) {
      trouble_ = "no connection: " + client.error().detail;
      return;
    }
    Instant give_up = Instant::never();
    while (trouble_.empty() && !(stop_ && open_.empty())) {
      if (stop_ && give_up == Instant::never()) give_up = boot_time() + seconds(90);
      if (boot_time() > give_up) {
        trouble_ = std::to_string(open_.size()) + " requests have no end";
        return;
      }
      for (const RequestId& request : std::exchange(again_, {})) ask(**client, request);
      while (!stop_ && open_.size() < outstanding_most) {
        const RequestId request =
            make_request_id(wall_time(), {.first = prng_.next(), .second = prng_.next()});
        open_.insert(request);
        ask(**client, request);
      }
      const auto event = (*client)->next_event(milliseconds(200));
      if (event)
        std::visit([this](const auto& one) { hear(one); }, *event);
      else if (event.error().code != Errc::timed_out)
        trouble_ = std::string(name_of(event.error().code)) + " " + event.error().detail;
    }
  }

  // Each third one is larger than a record, every time that it is asked.
  void ask(Client& client, const RequestId& request) {
    JobRequest body{.app = "nothing", .declared = seconds(1), .detached = true};
    if (request.low % 3 == 0)
      body.arguments.push_back({"notes", std::string(4'096 + request.low % 5'000, 'n')});
    const auto asked = client.submit(request, body);
    if (!asked) trouble_ = "submit: " + asked.error().detail;
  }

  void hear(const JobEvent& moved) {
    const auto [entry, is_new] = held_.emplace(moved.job, moved.request);
    if (!is_new && entry->second != moved.request) trouble_ = "a job has two requests";
  }
  void hear(const JobDone& done) {
    open_.erase(done.receipt.request);
    held_.emplace(done.receipt.job, done.receipt.request);
    const auto [entry, is_new] = receipts_.emplace(done.receipt.job, done.receipt);
    if (!is_new && entry->second.charged != done.receipt.charged) trouble_ = "two receipts differ";
  }
  // A pool that has just started may have no node yet; that request is over.
  void hear(const SessionRefused& refused) {
    open_.erase(refused.refusal.request);
    const Errc code = refused.refusal.code;
    if (code != Errc::pool_unavailable && code != Errc::size_unavailable)
      trouble_ = "refused: " + refused.refusal.sentence;
  }
  // Its answer was lost on the way: asked again by its id, it has the same one.
  void hear(const FollowFailed& failed) { again_.push_back(failed.request); }
  void hear(const LinkLost&) {}
  void hear(const LinkRestored&) {}

  const PoolProcess& pool_;
  const std::string user_;
  Prng prng_;
  std::atomic<bool> stop_ = false;
  std::set<RequestId> open_;
  std::vector<RequestId> again_;
  std::map<JobId, RequestId> held_;
  std::map<JobId, Receipt> receipts_;
  std::string trouble_;
  std::thread thread_;  // last: it uses the others
};

// What stands in the journal, read without the ledger.
struct Books {
  std::map<JobId, Hold> holds;
  std::map<std::pair<AccountId, RequestId>, JobId> requests;
  std::map<JobId, HoldSettled> settles;
  std::size_t doubled = 0;  // requests that were admitted again, holds that were closed again

  void take(const Record& record) {
    if (const auto* opened = std::get_if<HoldOpened>(&record.body)) {
      const Hold& hold = opened->hold;
      holds[hold.job] = hold;
      doubled += requests.emplace(std::pair{hold.account, hold.request}, hold.job).second ? 0 : 1;
    }
    if (const auto* settled = std::get_if<HoldSettled>(&record.body))
      doubled += settles.emplace(settled->job, *settled).second ? 0 : 1;
  }
};

inline Books read_books(const PoolProcess& pool, const KilledLedger& ledger) {
  Books books;
  const Status read = ledger.open(pool)->replay([&books](const Record& record) {
    books.take(record);
    return ok();
  });
  INFO((read ? std::string() : read.error().detail));
  REQUIRE(read);
  return books;
}

inline void check_audit(const PoolProcess& pool, const KilledLedger& ledger) {
  const Output audit = pool.gpupool(
      "", {"audit", "--ledger", ledger.name(pool), "--config", pool.config().string()});
  INFO(audit.out << audit.error);
  REQUIRE(audit.exit_code == 0);
}

struct Missing {
  JobId job;
  const char* what = nullptr;
};

// What was acknowledged and isn't so in the books. There are very many jobs: one assertion for each
// of them costs more than the pool itself.
inline std::vector<Missing> missing_from(const Books& books, const Load& load) {
  std::vector<Missing> missing;
  const auto miss = [&missing](JobId job, const char* what) { missing.push_back({job, what}); };
  const AccountId account{"user:" + load.user()};
  for (const auto& [job, request] : load.held()) {
    const auto hold = books.holds.find(job);
    const auto admitted = books.requests.find({account, request});
    if (hold == books.holds.end())
      miss(job, "no hold");
    else if (hold->second.request != request || hold->second.account != account)
      miss(job, "another's hold");
    else if (admitted == books.requests.end() || admitted->second != job)
      miss(job, "its request is another job");
  }
  for (const auto& [job, receipt] : load.receipts()) {
    const auto settled = books.settles.find(job);
    if (settled == books.settles.end())
      miss(job, "no settle");
    else if (settled->second.charged_quota + settled->second.charged_credits != receipt.charged)
      miss(job, "another charge");
    else if (settled->second.outcome != receipt.outcome)
      miss(job, "another outcome");
  }
  return missing;
}

inline std::string lines_about(JobId job, const PoolProcess& pool) {
  const std::string about = " job=" + std::to_string(job.value) + " ";
  std::string found;
  std::istringstream lines(pool.log());
  for (std::string line; std::getline(lines, line);)
    if (line.find(about) != std::string::npos) found += line + "\n";
  return found;
}

inline void check_acknowledged(const PoolProcess& pool, const Load& load, const Books& books) {
  INFO("user " << load.user());
  CHECK(load.trouble() == "");
  const std::vector<Missing> missing = missing_from(books, load);
  std::string first;
  if (!missing.empty()) {
    const auto& [job, what] = missing.front();
    first = "job " + std::to_string(job.value) + ": " + what + "\n" + lines_about(job, pool);
  }
  INFO(first);
  CHECK(missing.size() == 0);
}

inline std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

inline void kill_under_load(const KilledLedger& ledger) {
  const auto rounds = number_from_environment("GPUPOOL_KILL_ROUNDS", ledger.rounds);
  const auto seed = number_from_environment("GPUPOOL_KILL_SEED", std::random_device{}());
  INFO("repeat with GPUPOOL_KILL_SEED=" << seed);
  Prng prng(seed);
  PoolProcess pool(
      {.settings = "[[tiers]]\nname = \"anonymous\"\nallowance_s = 1\nlongest_s = 1\n"
                   "[[tiers]]\nname = \"free\"\nallowance_s = 1000000\nlongest_s = 180\n"
                   "jobs_max = 100\n"
                   "[rates]\naccount_per_s = 0\n"
                   "[[apps]]\nname = \"nothing\"\nexecutor = \"noop\"\ndefault_duration_s = 1\n",
       .ledger_settings = ledger.settings});
  pool.start();
  std::vector<std::unique_ptr<Load>> loads;
  for (int i = 0; i < clients_count; ++i)
    loads.push_back(std::make_unique<Load>(pool, "user" + std::to_string(i), prng.next()));
  for (std::uint64_t round = 0; round < rounds; ++round) {
    INFO("round " << round);
    const bool in_start = prng.one_in(4);
    if (!in_start) REQUIRE(pool.wait_ready());
    std::this_thread::sleep_for(
        std::chrono::milliseconds(prng.between(0, in_start ? ledger.start_ms : 900)));
    pool.kill_broker();
    check_audit(pool, ledger);
    pool.start_broker();
  }
  REQUIRE(pool.wait_ready());
  for (auto& load : loads) load->finish();
  pool.stop();
  check_audit(pool, ledger);
  const Books books = read_books(pool, ledger);
  CHECK(books.doubled == 0);
  std::size_t acknowledged = 0;
  for (const auto& load : loads) {
    check_acknowledged(pool, *load, books);
    acknowledged += load->receipts().size();
  }
  CHECK(acknowledged > rounds);
  WARN(rounds << " kills, " << books.holds.size() << " holds, " << acknowledged
              << " receipts acknowledged; seed " << seed);
}

}  // namespace gpupool::test
