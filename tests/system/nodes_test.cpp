// A picture that two nodes of one slot each draw together, with real processes, and the loss of
// each part of them.
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
  explicit TwoNodes(const std::string& worker_settings = "")
      : PoolProcess(
            {.two_processes = true,
             .settings = "[[apps]]\nname = \"emoji\"\nspread = \"nodes\"\nstall_s = 5\nmodel = \"" +
                         std::string(std::getenv("GPUPOOL_SOURCE_DIR")) + "/models/emoji\"\n",
             .worker_settings = worker_settings + one_slot,
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

}  // namespace

TEST_CASE("An xlarge picture is drawn by ranks on two nodes, and is the large one to the byte") {
  // Where their ranks listen: as the way to the broker tells, or as the nodes are told.
  TwoNodes pool(GENERATE("", "rank_address = \"127.0.0.2\"\n"));
  const json one = draw(pool, "large", pool.folder() / "one.png");
  const json two = draw(pool, "xlarge", pool.folder() / "two.png");
  CHECK_THAT(two["receipt"]["detail"].get<std::string>(),
             Catch::Equals("by 2 ranks, on node-1 and node-2") ||
                 Catch::Equals("by 2 ranks, on node-2 and node-1"));
  CHECK(bytes_of(pool.folder() / "one.png") == bytes_of(pool.folder() / "two.png"));
  CHECK(bytes_of(pool.folder() / "one.png").size() > 1000);
  // And again: both executors are warm and know how to be alone.
  draw(pool, "large", pool.folder() / "three.png");
  CHECK(bytes_of(pool.folder() / "three.png") == bytes_of(pool.folder() / "one.png"));
}

TEST_CASE("While ranks on two nodes draw, one node runs the job and the other one is held for it") {
  TwoNodes pool;
  const auto ada = pool.client("ada");
  submit_xlarge(*ada, 400);
  REQUIRE(wait_for_state(*ada, JobState::running));
  CHECK(wait_until(seconds(5), [&] { return pool.slots("held") == 1; }));
  CHECK(pool.slots("running") == 1);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(done->receipt.attempts == 1);
  CHECK(done->receipt.charged == cost_of(done->receipt.ran, 2));
  CHECK(wait_until(seconds(10), [&] { return pool.slots("free") == 2; }));
}

TEST_CASE("When one of two nodes is killed its picture is drawn again, and charged once") {
  TwoNodes pool;
  const auto ada = pool.client("ada");
  submit_xlarge(*ada, 400);
  const auto running = wait_for_state(*ada, JobState::running);
  REQUIRE(running);
  REQUIRE(wait_until(seconds(5), [&] { return pool.slots("held") == 1; }));
  const bool kill_the_one_that_runs_it = GENERATE(false, true);
  const std::string victim =
      (running->node == "node-1") == kill_the_one_that_runs_it ? "node-1" : "node-2";
  victim == "node-1" ? pool.kill_worker() : pool.kill_another_worker(victim);
  CHECK(wait_until(seconds(10), [&] { return pool.slots("free") == 1; }));  // the other one's
  REQUIRE(pool.log_says("node_lost node=" + victim));
  victim == "node-1" ? pool.start_worker() : pool.start_another_worker(victim);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(ran_again(done->receipt));
  CHECK(done->receipt.charged == cost_of(done->receipt.ran, 2));
  CHECK(wait_until(seconds(10), [&] { return pool.slots("free") == 2; }));
}

TEST_CASE("When a rank on either node dies or hangs the picture is drawn again, and charged once") {
  TwoNodes pool;
  const auto ada = pool.client("ada");
  submit_xlarge(*ada, 400);
  REQUIRE(wait_for_state(*ada, JobState::running));
  const auto choice = GENERATE(std::uint64_t{0}, std::uint64_t{1});
  const int signal = GENERATE(SIGKILL, SIGSTOP);
  REQUIRE(pool.kill_an_executor(choice, signal));
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(ran_again(done->receipt));
  CHECK(done->receipt.charged == cost_of(done->receipt.ran, 2));
  CHECK(wait_until(seconds(10), [&] { return pool.slots("free") == 2; }));
}

TEST_CASE("A picture on two nodes that is cancelled ends on both") {
  TwoNodes pool;
  const auto ada = pool.client("ada");
  submit_xlarge(*ada, 5'000);
  const auto running = wait_for_state(*ada, JobState::running);
  REQUIRE(running);
  REQUIRE(pool.gpupool("ada", {"cancel", std::to_string(running->job.value)}).exit_code == 0);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::cancelled);
  CHECK(wait_until(seconds(10), [&] { return pool.slots("free") == 2; }));
}

TEST_CASE("A broker that is killed finds the run on both nodes again") {
  TwoNodes pool;
  const auto ada = patient_client(pool, "ada", 1);
  REQUIRE(ada);
  submit_xlarge(**ada, 1'000);
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
