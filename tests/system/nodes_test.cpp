// A job of several slots on two nodes of one slot each, with real processes.
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using nlohmann::json;

// The broker, node-1 and node-2.
struct TwoNodes : PoolProcess {
  TwoNodes()
      : PoolProcess({.two_processes = true,
                     .settings = "[[apps]]\nname = \"emoji\"\nspread = \"nodes\"\nmodel = \"" +
                                 std::string(std::getenv("GPUPOOL_SOURCE_DIR")) +
                                 "/models/emoji\"\n",
                     .worker_settings = one_slot,
                     .broker_settings = "heartbeat_loss_s = 3\n"}) {
    start();
    start_another_worker("node-2");
    REQUIRE(wait_until(seconds(30), [this] { return slots("free") == 2; }));
  }
  json rows(const std::string& command) const {
    const Output output = gpupool("root", {command, "--json"});
    INFO(output.out << output.error);
    REQUIRE(output.exit_code == 0);
    return json::parse(output.out)["rows"];
  }
  int slots(const std::string& state) const {
    int count = 0;
    for (const json& row : rows("nodes")) count += row["slot_state"] == state ? 1 : 0;
    return count;
  }
};

void submit_xlarge(Client& client, int steps) {
  JobRequest request = picture(steps);
  request.size = "xlarge";
  (void)client.submit(new_request(), request);
}

}  // namespace

TEST_CASE("An xlarge picture runs on one node, holds a slot of another, and frees both") {
  TwoNodes pool;
  const auto ada = pool.client("ada");
  submit_xlarge(*ada, 400);
  REQUIRE(wait_for_state(*ada, JobState::running));
  CHECK(wait_until(seconds(5), [&] { return pool.slots("held") == 1; }));
  CHECK(pool.slots("running") == 1);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(done->receipt.charged == cost_of(done->receipt.ran, 2));
  CHECK_THAT(done->receipt.detail, Catch::Contains("1 of them elsewhere"));
  CHECK(wait_until(seconds(10), [&] { return pool.slots("free") == 2; }));
}

TEST_CASE("When the node that only held a slot vanishes, the job runs again and is charged once") {
  TwoNodes pool;
  const auto ada = pool.client("ada");
  submit_xlarge(*ada, 400);
  const auto running = wait_for_state(*ada, JobState::running);
  REQUIRE(running);
  REQUIRE(wait_until(seconds(5), [&] { return pool.slots("held") == 1; }));
  const std::string other = running->node == "node-1" ? "node-2" : "node-1";
  // The picture must not be finished before the loss is noticed, however fast the machine is.
  REQUIRE(pool.signal_executors(SIGSTOP) > 0);
  const auto kill_other = [&] {
    other == "node-1" ? pool.kill_worker() : pool.kill_another_worker(other);
  };
  kill_other();
  REQUIRE(pool.log_says("node_lost node=" + other));
  pool.signal_executors(SIGCONT);
  other == "node-1" ? pool.start_worker() : pool.start_another_worker(other);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(ran_again(done->receipt));
  CHECK(done->receipt.charged == cost_of(done->receipt.ran, 2));
}

TEST_CASE("A broker that is killed finds the run on both nodes again") {
  TwoNodes pool;
  const auto ada = patient_client(pool, "ada", 1);
  REQUIRE(ada);
  submit_xlarge(**ada, 1'500);
  const auto running = wait_for_state(**ada, JobState::running);
  REQUIRE(running);
  REQUIRE(wait_for_lease_on_record(**ada, running->job));
  pool.kill_broker();
  pool.start();
  const auto done = wait_for_end(**ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(done->receipt.attempts == 1);
  CHECK(wait_until(seconds(10), [&] { return pool.slots("free") == 2; }));
}

}  // namespace gpupool::test
