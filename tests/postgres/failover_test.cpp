// A leader that is lost under load, by kill -9 and by standing still: the standby leads in time,
// nothing acknowledged is lost or charged twice, clients and workers find it by themselves, and the
// old leader says nothing any more. Prints the times that docs/benchmarks.md quotes.
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/net/test_pool.h"
#include "tests/postgres/two_brokers.h"

namespace gpupool::test {
namespace {

constexpr const char* two_slots = "[[worker.devices]]\nkind = \"cpu\"\nthreads = 1\nslots = 2\n";

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// What one client hears of its jobs, by their requests.
struct Heard {
  std::map<RequestId, JobDone> done;
  std::map<RequestId, JobEvent> last;
  std::vector<RequestId> started;  // for the first time, in order
  std::string restored_at;
  std::vector<std::string> failures;

  void on(const JobEvent& event) {
    const bool runs = event.state == JobState::starting || event.state == JobState::running;
    const bool is_new = std::find(started.begin(), started.end(), event.request) == started.end();
    if (runs && is_new) started.push_back(event.request);
    last[event.request] = event;
  }
  void on(const JobDone& one) { done.emplace(one.receipt.request, one); }
  void on(const SessionRefused& refused) { failures.push_back(refused.refusal.sentence); }
  void on(const FollowFailed& failed) { failures.push_back(failed.error.detail); }
  void on(const LinkLost&) {}
  void on(const LinkRestored& restored) { restored_at = restored.endpoint; }
};

// Until `enough`; false after a while without it.
template <class Enough>
bool listen(Client& client, Heard& heard, Enough enough) {
  const Instant give_up = boot_time() + seconds(90);
  while (!enough() && boot_time() < give_up) {
    const auto event = client.next_event(milliseconds(50));
    if (event)
      std::visit([&](const auto& one) { heard.on(one); }, *event);
    else if (event.error().code != Errc::timed_out)
      heard.failures.push_back(event.error().detail);
  }
  return enough();
}

// The standby listens for clients once it leads.
bool leads(const PoolProcess& standby) {
  const std::string state = standby.state();
  return state == "starting" || state == "ready";
}

}  // namespace

TEST_CASE("A leader is killed under load: runs go on, queued jobs keep their places, clients too") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  {
    TwoBrokers pool(place, two_slots);
    // A result of before the failover.
    const auto ada = pool.client("ada");
    CHECK(ada->endpoint() == pool.endpoint(0));
    submit_picture(*ada, 20);
    const auto early = wait_for_end(*ada);
    REQUIRE(early);
    const auto picture_before = ada->fetch(early->receipt);
    REQUIRE(picture_before);

    // One run that outlives the failover, one that ends in it, and jobs behind them.
    const RequestId endures = submit_picture(*ada, 800);
    Heard heard;
    REQUIRE(listen(*ada, heard, [&] { return heard.last[endures].state == JobState::running; }));
    const RequestId ends = submit_picture(*ada, 400);
    REQUIRE(listen(*ada, heard, [&] { return heard.last[ends].state == JobState::running; }));
    const auto bob = pool.client("bob");
    Heard bob_heard;
    std::vector<RequestId> queued;
    for (int i = 0; i < 3; ++i) {
      queued.push_back(submit_picture(*bob, 20));
      REQUIRE(listen(*bob, bob_heard, [&] { return bob_heard.last.contains(queued.back()); }));
      CHECK(bob_heard.last[queued.back()].state == JobState::queued);
    }
    const auto log = pool.first.folder() / "generate.log";
    const auto file = pool.first.folder() / "heart.png";
    const pid_t generate = pool.first.gpupool_in_background(
        "carol", {"generate", "a red heart", "--steps", "20", "-o", file.string()}, log);
    REQUIRE(
        wait_until(seconds(30), [&] { return text_of(log).find("queued") != std::string::npos; }));
    REQUIRE(wait_for_lease_on_record(*ada, heard.last[ends].job));

    const Instant killed = boot_time();
    pool.first.kill_broker();
    REQUIRE(wait_until(seconds(60), [&] { return leads(pool.second); }));
    const Duration led = since(killed);
    print_time("kill -9: the standby leads", led);
    CHECK(led < seconds(6));
    REQUIRE(listen(*bob, bob_heard, [&] { return bob_heard.done.size() == queued.size(); }));
    REQUIRE(listen(*ada, heard, [&] { return heard.done.size() == 2; }));
    CHECK(bob_heard.restored_at == pool.endpoint(1));
    CHECK(bob_heard.started == queued);
    CHECK(bob_heard.failures.empty());
    CHECK(heard.failures.empty());
    for (const auto& [request, done] : bob_heard.done)
      CHECK(done.receipt.outcome == Outcome::succeeded);
    const auto story = bob->explain(bob_heard.done.at(queued.back()).receipt.job);
    REQUIRE(story);
    CHECK(std::any_of(story->story.begin(), story->story.end(), [](const auto& moment) {
      return moment.text.starts_with("promise restated (the broker restarted)");
    }));
    for (const RequestId& request : {endures, ends}) {
      const Receipt& receipt = heard.done.at(request).receipt;
      CHECK(receipt.outcome == Outcome::succeeded);
      CHECK(receipt.attempts == 1);
      CHECK(receipt.charged.ms == receipt.ran.ms);
    }
    const auto picture_after = ada->fetch(early->receipt);
    REQUIRE(picture_after);
    CHECK(*picture_after == *picture_before);
    int status = 0;
    REQUIRE(
        wait_until(seconds(60), [&] { return waitpid(generate, &status, WNOHANG) == generate; }));
    INFO(text_of(log));
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
    CHECK(text_of(file).starts_with("\x89PNG"));
    CHECK(text_of(log).find("was lost (the connection was closed)") != std::string::npos);
    CHECK(text_of(log).find("connected again, to " + pool.endpoint(1)) != std::string::npos);
    pool.second.stop();
  }
  check_books(place, 7);
}

// A slot is free all the time, so that nothing but the takeover is waited for.
TEST_CASE("What is asked for right after a leader was killed starts within eight seconds") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  {
    TwoBrokers pool(place, two_slots);
    const auto ada = pool.client("ada");
    const RequestId endures = submit_picture(*ada, 800);
    Heard heard;
    REQUIRE(listen(*ada, heard, [&] { return heard.last[endures].state == JobState::running; }));
    REQUIRE(wait_for_lease_on_record(*ada, heard.last[endures].job));
    const Instant killed = boot_time();
    pool.first.kill_broker();
    const RequestId next = submit_picture(*ada, 5);
    REQUIRE(listen(*ada, heard, [&] { return heard.started.size() == 2; }));
    const Duration dispatched = since(killed);
    print_time("kill -9: the first new dispatch", dispatched);
    CHECK(dispatched < seconds(8));
    REQUIRE(listen(*ada, heard, [&] { return heard.done.size() == 2; }));
    CHECK(heard.done.at(endures).receipt.attempts == 1);
    CHECK(heard.done.at(next).receipt.outcome == Outcome::succeeded);
    pool.second.stop();
  }
  check_books(place, 2);
}

// The client has asked while the leader stood still: what it finds in its sockets when it goes on
// is of a time when it led no more.
TEST_CASE("A leader that stood still through a takeover answers nobody any more and ends with 76") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  {
    TwoBrokers pool(place);
    const auto ada = pool.client("ada");
    const RequestId endures = submit_picture(*ada, 800);
    Heard heard;
    REQUIRE(listen(*ada, heard, [&] { return heard.last[endures].state == JobState::running; }));
    const RequestId waits = submit_picture(*ada, 20);
    REQUIRE(listen(*ada, heard, [&] { return heard.last.contains(waits); }));
    REQUIRE(wait_for_lease_on_record(*ada, heard.last[endures].job));
    RawClient raw(pool.endpoint(0));
    raw.send(Hello{.token = pool.first.token("ada"), .program = "test"});
    raw.receive_one<SessionWelcome>();

    const Instant stopped = boot_time();
    pool.first.signal_broker(SIGSTOP);
    REQUIRE(pool.first.broker_is_stopped(seconds(10)));
    for (std::uint64_t query = 1; query <= 30; ++query) {
      raw.send(ClientPing{.query = query});
      raw.send(ClientQuota{.query = query});
      raw.send(ClientJobs{.query = query});
    }
    REQUIRE(wait_until(seconds(60), [&] { return leads(pool.second); }));
    print_time("SIGSTOP: the standby leads", since(stopped));
    REQUIRE(wait_until(seconds(60), [&] { return pool.second.state() == "ready"; }));
    print_time("SIGSTOP: the worker has joined it", since(stopped));
    const Instant woken = boot_time();
    pool.first.signal_broker(SIGCONT);
    CHECK(pool.first.broker_ended(seconds(60)) == 76);
    print_time("SIGCONT: the old leader has ended", since(woken));
    CHECK(since(woken) < seconds(3));
    CHECK(pool.first.log_says("deposed: this process leads no more"));
    const auto said = raw.receive(std::chrono::milliseconds(500));
    INFO((said ? "message " + std::to_string(said->index()) : ""));
    CHECK_FALSE(said);
    REQUIRE(listen(*ada, heard, [&] { return heard.done.size() == 2; }));
    CHECK(heard.restored_at == pool.endpoint(1));
    CHECK(heard.failures.empty());
    CHECK(heard.done.at(endures).receipt.attempts == 1);
    for (const auto& [request, done] : heard.done) {
      CHECK(done.receipt.outcome == Outcome::succeeded);
      CHECK(done.receipt.charged.ms == done.receipt.ran.ms);
    }
    pool.second.stop();
  }
  check_books(place, 2);
}

TEST_CASE("Both brokers restart in turn, and one client follows its jobs through all of it") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  {
    TwoBrokers pool(place);
    const auto ada = pool.client("ada");
    Heard heard;
    std::vector<RequestId> requests{submit_picture(*ada, 500)};
    REQUIRE(
        listen(*ada, heard, [&] { return heard.last[requests[0]].state == JobState::running; }));
    REQUIRE(wait_for_lease_on_record(*ada, heard.last[requests[0]].job));
    pool.first.kill_broker();
    REQUIRE(listen(*ada, heard, [&] { return heard.restored_at == pool.endpoint(1); }));
    pool.first.start_broker();
    REQUIRE(wait_until(seconds(60), [&] { return pool.first.state() == "standby"; }));
    requests.push_back(submit_picture(*ada, 20));
    REQUIRE(listen(*ada, heard, [&] { return heard.done.size() == 2; }));
    const Instant left = boot_time();
    pool.second.signal_broker(SIGTERM);  // in good order: nobody waits for a silence
    REQUIRE(wait_until(seconds(60), [&] { return leads(pool.first); }));
    print_time("SIGTERM: the standby leads", since(left));
    CHECK(pool.second.broker_ended(seconds(30)) == 0);
    requests.push_back(submit_picture(*ada, 20));
    REQUIRE(listen(*ada, heard, [&] { return heard.done.size() == 3; }));
    CHECK(heard.restored_at == pool.endpoint(0));
    CHECK(heard.failures.empty());
    for (const RequestId& request : requests) {
      CHECK(heard.done.at(request).receipt.outcome == Outcome::succeeded);
      CHECK(heard.done.at(request).receipt.attempts == 1);
    }
    pool.first.stop();
  }
  check_books(place, 3);
}

}  // namespace gpupool::test
