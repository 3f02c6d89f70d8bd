// Learned durations, quotes, partitions and reservations, with real processes and real pictures.
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using nlohmann::json;

std::string app_named(const std::string& name, const std::string& more) {
  return "[[apps]]\nname = \"" + name + "\"\nmodel = \"" +
         std::string(std::getenv("GPUPOOL_SOURCE_DIR")) + "/models/emoji\"\n" + more;
}

std::string free_tier(int allowance_s) {
  return "[[tiers]]\nname = \"anonymous\"\nallowance_s = 120\nlongest_s = 120\n"
         "[[tiers]]\nname = \"free\"\nallowance_s = " +
         std::to_string(allowance_s) + "\nlongest_s = 180\n";
}

json answer_of(const Output& output, int code) {
  INFO(output.out << output.error);
  REQUIRE(output.exit_code == code);
  return json::parse(output.out);
}

// A picture of so many steps; its job as `generate --json` tells it.
json draw(const PoolProcess& pool, const std::string& user, int steps) {
  return answer_of(
      pool.gpupool(user, {"generate", "a star", "-o", (pool.folder() / "p.png").string(), "--steps",
                          std::to_string(steps), "--json"}),
      0);
}

}  // namespace

TEST_CASE("A learned duration is held, extended while the run goes on, and ended where it ends") {
  PoolProcess pool({.settings = free_tier(40) +
                                app_named("emoji", "duration = \"auto\"\ndefault_duration_s = 5\n"),
                    .worker_settings = one_slot});
  pool.start();
  const json quote = answer_of(pool.gpupool("ada", {"quote", "emoji", "--json"}), 0)["quote"];
  CHECK(quote["cost_ms"] == 180'000);
  CHECK(quote["first_held_ms"] == 5'000);
  CHECK(quote["left_ms"] == 35'000);
  for (int i = 0; i < 10; ++i) draw(pool, "ada", 2);
  const json learned = answer_of(pool.gpupool("ada", {"quota", "--json"}), 0)["balance"];
  CHECK(learned["advice"]["own"] == true);
  CHECK(learned["advice"]["runs"] == 10);
  const std::int64_t first = learned["advice"]["first_held_ms"];
  CHECK(first >= 4'000);
  CHECK(first < 20'000);

  // It goes on for longer than its account can pay: warned, then ended, and charged what it held.
  const auto log = pool.folder() / "long.log";
  const pid_t job = pool.gpupool_in_background(
      "ada", {"generate", "a star", "-o", (pool.folder() / "l.png").string(), "--steps", "10000"},
      log);
  int status = 0;
  REQUIRE(waitpid(job, &status, 0) == job);
  CHECK(WEXITSTATUS(status) == 4);
  std::ifstream file(log);
  const std::string said((std::istreambuf_iterator<char>(file)), {});
  INFO(said);
  CHECK(said.find("its hold was extended to") != std::string::npos);
  CHECK(said.find("no more can be held for it, as its account has") != std::string::npos);
  CHECK(said.find("expired") != std::string::npos);
  const json balance = answer_of(pool.gpupool("ada", {"quota", "--json"}), 0)["balance"];
  CHECK(balance["held_ms"] == 0);
  CHECK(balance["left_ms"].get<int>() < 100);
  CHECK(balance["used_ms"].get<int>() <= 40'000);

  // Another process knows what this one learned.
  pool.kill_broker();
  pool.start();
  const json again = answer_of(pool.gpupool("bob", {"quote", "emoji", "--json"}), 0)["quote"];
  CHECK(again["balance"]["advice"]["runs"] == 10);  // the one that expired does not count
  CHECK(again["first_held_ms"] == first);
}

TEST_CASE("A quote tells what a request would cost, or why it would be refused, with exit code 3") {
  PoolProcess pool;
  pool.start();
  const Output quote = pool.gpupool("eve", {"quote", "emoji", "--duration", "9"});
  INFO(quote.out << quote.error);
  CHECK(quote.exit_code == 0);
  CHECK(quote.out.find("9.0 s at most") != std::string::npos);
  CHECK(quote.out.find("at once; nobody waits before it") != std::string::npos);
  CHECK(quote.out.find("promised  a start by") != std::string::npos);
  const json refused = answer_of(pool.gpupool("eve", {"quote", "nothing", "--json"}), 3);
  CHECK(refused["refused"]["code"] == "unknown_app");
  CHECK(pool.gpupool("eve", {"quote", "emoji", "--duration", "-1"}).exit_code == 2);
  CHECK(answer_of(pool.gpupool("eve", {"jobs", "--json"}), 0)["jobs"].empty());
}

TEST_CASE("Each partition has its own slots, and reserved ones are their users' until SIGHUP") {
  const std::string apps = app_named("emoji", "") + app_named("sketch", "partition = \"own\"\n");
  const std::string reserved =
      "[[reservations]]\nname = \"workshop\"\nslots = 1\nusers = [\"ada\"]\n";
  PoolProcess pool({.settings = apps + reserved,
                    .worker_settings = "[[worker.devices]]\nslots = 1\n[[worker.devices]]\nslots = "
                                       "1\n[[worker.devices]]\nslots = 1\npartition = \"own\"\n"});
  pool.start();
  const json nodes = answer_of(pool.gpupool("root", {"nodes", "--json"}), 0);
  std::vector<std::pair<std::string, std::string>> slots;
  for (const json& row : nodes["rows"]) slots.emplace_back(row["partition"], row["reservation"]);
  CHECK(slots == std::vector<std::pair<std::string, std::string>>{
                     {"default", ""}, {"default", "workshop"}, {"own", ""}});
  const auto client = pool.client("bob");
  submit_picture(*client, 10'000);
  submit_picture(*client, 10'000);
  REQUIRE(wait_for_state(*client, JobState::running));
  // Ada's own slot is free, whatever bob has waiting.
  CHECK(
      answer_of(pool.gpupool("ada", {"generate", "a star", "-o", (pool.folder() / "a.png").string(),
                                     "--steps", "2", "--json"}),
                0)["receipt"]["outcome"] == "succeeded");
  CHECK(answer_of(pool.gpupool("eve", {"submit", "sketch", "prompt=a star", "steps=2", "--json"}),
                  0)["receipt"]["outcome"] == "succeeded");
  const auto running = [&] {
    int count = 0;
    const json queue = answer_of(pool.gpupool("root", {"queue", "--json"}), 0);
    for (const json& row : queue["rows"]) count += row["state"] == "running" ? 1 : 0;
    return count;
  };
  CHECK(running() == 1);
  pool.use_settings(apps);
  pool.signal_broker(SIGHUP);
  CHECK(wait_until(seconds(30), [&] { return running() == 2; }));
}

}  // namespace gpupool::test
