// kill -9 of the broker, the worker and executors at random moments under load. After every restart
// nothing acknowledged is lost and nothing is charged twice; at the end the journal itself is
// audited.
#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "actors/ledger/journal_sqlite.h"
#include "actors/ledger/ledger.h"
#include "base/clock.h"
#include "base/prng.h"
#include "config/config.h"
#include "config/limits.h"
#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

constexpr int rounds = 20;

// One account that keeps a job going, and remembers what the pool acknowledged.
class LoadingClient {
 public:
  LoadingClient(const PoolProcess& pool, std::string user, std::uint64_t seed)
      : pool_(pool), user_(std::move(user)), prng_(seed), thread_([this] { run(); }) {}
  ~LoadingClient() { finish(); }

  void finish() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  // Only after finish().
  const std::map<JobId, Receipt>& receipts() const { return receipts_; }
  const std::map<JobId, RequestId>& acknowledged() const { return acknowledged_; }
  const std::string& trouble() const { return trouble_; }
  int finished() const { return finished_; }

 private:
  void run() {
    while (!stop_ && trouble_.empty()) {
      auto client = patient_client(pool_, user_, prng_.next());
      if (!client) {
        trouble_ = "no connection: " + client.error().detail;
        return;
      }
      while (!stop_ && trouble_.empty()) one_job(**client);
    }
  }

  void one_job(Client& client) {
    const RequestId request =
        make_request_id(wall_time(), {.first = prng_.next(), .second = prng_.next()});
    const JobRequest body{.app = "emoji",
                          .declared = seconds(60),
                          .arguments = {{"prompt", "a red heart"},
                                        {"steps", std::to_string(prng_.between(5, 60))},
                                        {"seed", "7"}}};
    if (!client.submit(request, body)) return;
    const Instant give_up = boot_time() + seconds(180);
    while (boot_time() < give_up) {
      const auto event = client.next_event(milliseconds(500));
      if (!event) {
        if (event.error().code == Errc::timed_out) continue;
        trouble_ = "while waiting: " + std::string(name_of(event.error().code)) + " " +
                   event.error().detail;
        return;
      }
      if (const auto* moved = std::get_if<JobEvent>(&*event)) acknowledged_[moved->job] = request;
      if (const auto* refused = std::get_if<SessionRefused>(&*event)) {
        // Only the quota may refuse: this account has used it up, and is done.
        if (refused->refusal.code != Errc::quota_exceeded)
          trouble_ = "refused: " + refused->refusal.sentence;
        stop_ = true;
        return;
      }
      if (const auto* failed = std::get_if<FollowFailed>(&*event)) {
        if (client.submit(request, body)) continue;  // asked again by its id
        trouble_ = "not followed: " + failed->error.detail;
        return;
      }
      if (const auto* done = std::get_if<JobDone>(&*event)) {
        receipts_[done->receipt.job] = done->receipt;
        ++finished_;
        return;
      }
    }
    trouble_ = "a job did not end within 180 s";
  }

  const PoolProcess& pool_;
  const std::string user_;
  Prng prng_;
  std::atomic<bool> stop_ = false;
  std::map<JobId, Receipt> receipts_;
  std::map<JobId, RequestId> acknowledged_;
  std::string trouble_;
  std::atomic<int> finished_ = 0;
  std::thread thread_;
};

struct Books {
  std::map<JobId, Hold> holds;
  std::map<JobId, HoldSettled> settles;
  std::size_t settled_twice = 0;
};

// Reads the journal as it lies on the disk, with the ledger beside it.
Books audit(const std::filesystem::path& path, Ledger& ledger) {
  Books books;
  auto journal = JournalSqlite::open(path);
  REQUIRE(journal);
  const auto read = (*journal)->replay([&](const Record& record) -> Status {
    ledger.apply(record);
    if (const auto* opened = std::get_if<HoldOpened>(&record.body))
      books.holds[opened->hold->job] = opened->hold;
    if (const auto* settled = std::get_if<HoldSettled>(&record.body))
      books.settled_twice += books.settles.emplace(settled->job, *settled).second ? 0 : 1;
    return ok();
  });
  REQUIRE(read);
  return books;
}

void hit(PoolProcess& pool, Prng& prng) {
  switch (prng.below(3)) {
    case 0:
      pool.kill_broker();
      pool.start_broker();
      break;
    case 1:
      pool.kill_worker();
      pool.start_worker();
      break;
    default:
      pool.kill_an_executor(prng.next());
  }
}

}  // namespace

TEST_CASE("Nothing acknowledged is lost or charged twice over twenty rounds of kill -9") {
  PoolProcess pool({.two_processes = true,
                    .settings = "[[tiers]]\nname = \"anonymous\"\nallowance_s = 1\nlongest_s = 1\n"
                                "[[tiers]]\nname = \"free\"\nallowance_s = 100000\n"
                                "longest_s = 180\n",
                    .broker_settings = "rejoin_grace_s = 2\nheartbeat_loss_s = 3\n"});
  pool.start();
  const char* given = std::getenv("GPUPOOL_KILL_SEED");
  const std::uint64_t seed = given ? std::stoull(given) : std::random_device{}();
  INFO("repeat with GPUPOOL_KILL_SEED=" << seed);
  Prng prng(seed);

  std::vector<std::unique_ptr<LoadingClient>> clients;
  for (int i = 0; i < 4; ++i)
    clients.push_back(
        std::make_unique<LoadingClient>(pool, "user" + std::to_string(i), prng.next()));
  for (int round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(prng.between(100, 2500)));
    hit(pool, prng);
  }
  for (auto& client : clients) client->finish();
  for (const auto& client : clients) {
    CHECK(client->trouble() == "");
    CHECK(client->finished() > 0);
  }
  pool.stop();

  const Config config = default_config();
  Ledger ledger(config);
  const Books books = audit(pool.ledger(), ledger);
  CHECK(books.settled_twice == 0);
  CHECK(ledger.check_invariants().empty());
  CHECK(ledger.open_holds().empty());
  for (const auto& [job, hold] : books.holds) {
    REQUIRE(books.settles.count(job) == 1);
    const HoldSettled& settled = books.settles.at(job);
    CHECK(settled.charged_quota <= hold.quota_part);
    // A job that was hit three times has failed by the pool's fault and costs nothing.
    CHECK((settled.outcome == Outcome::succeeded || settled.attempt == limits::attempts_max));
    CHECK(settled.charged_quota.ms == (settled.outcome == Outcome::succeeded ? settled.ran.ms : 0));
  }
  for (const auto& client : clients) {
    for (const auto& [job, request] : client->acknowledged()) {
      REQUIRE(books.holds.count(job) == 1);
      CHECK(books.holds.at(job).request == request);
      REQUIRE(client->receipts().count(job) == 1);
      CHECK(client->receipts().at(job).charged == books.settles.at(job).charged_quota);
    }
  }
}

}  // namespace gpupool::test
