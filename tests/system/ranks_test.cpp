// An xlarge picture, drawn by two executor processes that share its tokens.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using nlohmann::json;

constexpr const char* two_devices =
    "[[worker.devices]]\nthreads = 1\nslots = 1\n[[worker.devices]]\nthreads = 1\nslots = 1\n";

}  // namespace

TEST_CASE("An xlarge picture is drawn by two ranks, and is the large one to the byte") {
  PoolProcess pool({.worker_settings = two_devices});
  pool.start();
  const json one = draw(pool, "large", pool.folder() / "one.png");
  const json two = draw(pool, "xlarge", pool.folder() / "two.png");
  CHECK(two["receipt"]["detail"] == "by 2 ranks, on devices 0, 1");
  CHECK(bytes_of(pool.folder() / "one.png") == bytes_of(pool.folder() / "two.png"));
  CHECK(bytes_of(pool.folder() / "one.png").size() > 1000);
  // And again: both executors are warm and know how to be alone.
  const json third = draw(pool, "large", pool.folder() / "three.png");
  CHECK(third["receipt"]["detail"].is_null());
  CHECK(bytes_of(pool.folder() / "three.png") == bytes_of(pool.folder() / "one.png"));
}

TEST_CASE("When one of its ranks is killed an xlarge picture is drawn again, and charged once") {
  PoolProcess pool({.worker_settings = two_devices});
  pool.start();
  const auto ada = pool.client("ada");
  const auto choice = GENERATE(std::uint64_t{0}, std::uint64_t{1});
  submit_xlarge(*ada, 300);
  REQUIRE(wait_for_state(*ada, JobState::running));
  REQUIRE(pool.kill_an_executor(choice));
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(ran_again(done->receipt));
  CHECK(done->receipt.charged == cost_of(done->receipt.ran, 2));
}

TEST_CASE("A cancelled xlarge picture ends as cancelled on all its ranks, and frees them") {
  PoolProcess pool({.worker_settings = two_devices});
  pool.start();
  const auto ada = pool.client("ada");
  submit_xlarge(*ada, 5'000);
  const auto running = wait_for_state(*ada, JobState::running);
  REQUIRE(running);
  REQUIRE(pool.gpupool("ada", {"cancel", std::to_string(running->job.value)}).exit_code == 0);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::cancelled);
  submit_xlarge(*ada, 4);
  const auto next = wait_for_end(*ada);
  REQUIRE(next);
  CHECK(next->receipt.outcome == Outcome::succeeded);
  CHECK(next->receipt.attempts == 1);
}

}  // namespace gpupool::test
