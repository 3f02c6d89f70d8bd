// gpupoold as the system and its operator see it: how it starts, refuses to start, reads its
// configuration again, and ends.
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "actors/ledger/journal_sqlite.h"
#include "actors/request_id.h"
#include "base/clock.h"
#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using nlohmann::json;

std::string tiers(int allowance_s, int longest_s) {
  return "[[tiers]]\nname = \"anonymous\"\nallowance_s = 120\nlongest_s = 120\n"
         "[[tiers]]\nname = \"free\"\nallowance_s = " +
         std::to_string(allowance_s) + "\nlongest_s = " + std::to_string(longest_s) + "\n";
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("SIGTERM lets a running picture end, delivers and charges it, and keeps the queue") {
  // The picture may take its time on a machine that is busy.
  PoolProcess pool({.worker_settings = one_slot, .daemon_settings = "drain_limit_s = 600\n"});
  pool.start();
  const auto ada = pool.client("ada");
  const auto bob = pool.client("bob", 2);
  const RequestId running = submit_picture(*ada, 200);
  REQUIRE(wait_for_state(*ada, JobState::running));
  const RequestId waiting = submit_picture(*bob, 5);
  REQUIRE(wait_for_state(*bob, JobState::queued));

  pool.signal_broker(SIGTERM);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.request == running);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(done->receipt.charged.ms == done->receipt.ran.ms);
  CHECK(ada->fetch(done->receipt));
  CHECK(pool.broker_ended(seconds(30)) == 0);
  CHECK(pool.log_says("drained: nothing runs any more"));
  CHECK(pool.log_says("ended: "));
  CHECK_FALSE(std::filesystem::exists(pool.folder() / "ready"));

  pool.start();
  const auto late = wait_for_end(*bob);
  REQUIRE(late);
  CHECK(late->receipt.request == waiting);
  CHECK(late->receipt.outcome == Outcome::succeeded);
}

TEST_CASE("What runs at the drain limit or at a second signal runs again uncharged") {
  PoolProcess pool({.worker_settings = one_slot, .daemon_settings = "drain_limit_s = 600\n"});
  pool.start();
  const auto ada = pool.client("ada");
  submit_picture(*ada, 200);
  const auto running = wait_for_state(*ada, JobState::running);
  REQUIRE(running);
  REQUIRE(wait_for_lease_on_record(*ada, running->job));
  pool.signal_broker(SIGTERM);
  REQUIRE(pool.log_says("draining: SIGTERM"));
  pool.signal_broker(SIGTERM);
  CHECK(pool.broker_ended(seconds(20)) == 0);
  CHECK(pool.log_says("runs again, uncharged, after the restart"));

  pool.start();
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(ran_again(done->receipt));
  CHECK(done->receipt.charged.ms == done->receipt.ran.ms);
}

TEST_CASE("SIGHUP takes over tiers at once, and a wrong file changes nothing") {
  PoolProcess pool({.settings = tiers(100, 50)});
  pool.start();
  const auto allowance = [&] { return pool.client("ada")->quota()->balance.allowance; };
  CHECK(allowance() == GpuTime{100'000});

  pool.use_settings(tiers(300, 50) +
                    "rank = 7\n[[sizes]]\nname = \"large\"\nslots = 1\nfactor = 3\n");
  pool.signal_broker(SIGHUP);
  REQUIRE(pool.log_says("reloaded: from now on: tiers.free.allowance_s, tiers.free.rank"));
  CHECK(pool.log_says("these differ and need a restart: broker.client_endpoint, sizes"));
  CHECK(allowance() == GpuTime{300'000});
  CHECK(pool.client("ada")->quota()->balance.fits.at(0).factor == 1);

  pool.use_settings(tiers(400, 0));
  pool.signal_broker(SIGHUP);
  REQUIRE(pool.log_says("reload_refused: the configuration stays as it was: "));
  CHECK(pool.log().find("tiers[1].longest_s: expected") != std::string::npos);
  CHECK(allowance() == GpuTime{300'000});
}

TEST_CASE("A second daemon on one ledger says so in one line and leaves the first alone") {
  PoolProcess pool({.daemon_settings = "pid_file = \"pool.pid\"\n"});
  pool.start();
  std::string config = text_of(pool.config());
  const auto other = pool.folder() / "other.toml";
  const auto without_pid = [&] {
    std::string text = config;
    text.replace(text.find("pid_file = \"pool.pid\""), 21, "");
    return text;
  };
  write(other, config);
  const Output same_pid_file = pool.gpupoold({"--config", other});
  CHECK(same_pid_file.exit_code == 1);
  CHECK(same_pid_file.error.find("is held by the running process") != std::string::npos);

  write(other, without_pid());
  const Output same_ledger = pool.gpupoold({"--config", other});
  INFO(same_ledger.error);
  CHECK(same_ledger.exit_code == 1);
  CHECK(lines_of(same_ledger.error) == 2);
  CHECK(same_ledger.error.find(pool.ledger().string() + " is in use by another process") !=
        std::string::npos);
  CHECK(same_ledger.error.find("give this one a ledger.path of its own") != std::string::npos);
  CHECK(std::filesystem::exists(pool.folder() / "ready"));
  CHECK(pool.client("ada")->quota());

  pool.stop();
  CHECK_FALSE(std::filesystem::exists(pool.folder() / "pool.pid"));
}

TEST_CASE("A port in use is told with what to do, and nothing is left behind") {
  PoolProcess first;
  first.start();
  PoolProcess second({.client_endpoint = first.endpoint()});
  second.start_broker();
  REQUIRE(second.broker_ended(seconds(20)) == 1);
  INFO(second.log());
  CHECK(second.log_says("binding " + first.endpoint() + ": Address already in use"));
  CHECK(second.log_says("stop what listens there, or name another broker.client_endpoint"));
  CHECK_FALSE(std::filesystem::exists(second.ledger()));
  CHECK_FALSE(std::filesystem::exists(second.folder() / "ready"));
}

TEST_CASE("A ledger file that is none is refused and stays as it was") {
  PoolProcess pool;
  const std::string text(5'000, 'x');
  write(pool.ledger(), text);
  pool.start_broker();
  CHECK(pool.broker_ended(seconds(20)) == 1);
  CHECK(pool.log_says("is not a gpupool ledger"));
  CHECK(pool.log_says("name another one as ledger.path"));
  CHECK(text_of(pool.ledger()) == text);
  const Output checked = pool.gpupoold({"--config", pool.config(), "--check-config"});
  CHECK(checked.exit_code == 2);
  CHECK(checked.error.find("ledger.path: ") != std::string::npos);
}

TEST_CASE("A socket file of a dead daemon is replaced, and one of a living is not stolen") {
  const std::string path = std::filesystem::temp_directory_path() /
                           ("gpupool-test-" + std::to_string(getpid()) + ".sock");
  PoolProcess pool({.client_endpoint = "ipc://" + path});
  pool.start();
  struct stat status {};
  REQUIRE(stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0660U);
  CHECK(pool.client("ada")->quota());

  PoolProcess thief({.client_endpoint = "ipc://" + path});
  thief.start_broker();
  CHECK(thief.broker_ended(seconds(20)) == 1);
  CHECK(thief.log_says("Address already in use"));
  CHECK(pool.client("ada")->quota());

  pool.kill_broker();
  CHECK(std::filesystem::exists(path));
  pool.start();
  CHECK(pool.client("ada")->quota());
  pool.stop();
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("The log is one JSON object a line, tells a job's life, and holds no token") {
  PoolProcess pool({.log_settings = "json = true\nlevel = \"debug\"\n"});
  pool.start();
  const std::string token = pool.token("ada");
  const std::string prompt = "a \"zebra\" heart";
  const Output made = pool.gpupool_with_token(
      token, {"generate", prompt, "-o", (pool.folder() / "heart.png").string()});
  REQUIRE(made.exit_code == 0);
  CHECK(pool.gpupool_with_token(token + "x", {"quota"}).exit_code == 3);
  pool.stop();

  std::set<std::string> events;
  std::istringstream lines(pool.log());
  std::string build;
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    const json one = json::parse(line);
    CHECK(one.at("at").get<std::string>().size() == 24);
    CHECK(one.at("level").is_string());
    events.insert(one.at("event"));
    if (one["event"] == "starting") build = one["text"];
    if (one["event"] == "held" || one["event"] == "settled") {
      CHECK(one.at("account") == "user:ada");
      CHECK(one.at("job").get<int>() > 0);
      CHECK(one.at("request").get<std::string>().size() == 36);
    }
    if (one["event"] == "leased") CHECK(one.at("node") == "node-1");
  }
  for (const char* event :
       {"starting", "node_joined", "ready", "held", "leased", "began", "step", "settled", "ended"})
    CHECK(events.count(event) == 1);
  CHECK(pool.log().find(token) == std::string::npos);
  CHECK(pool.log().find(token.substr(token.rfind('.'))) == std::string::npos);
  CHECK(pool.log().find("zebra") == std::string::npos);
  const Output version = pool.gpupoold({"--version"});
  CHECK(build.find(version.out.substr(9, version.out.size() - 10)) != std::string::npos);
}

TEST_CASE("--check-config tells what it found without leaving a trace") {
  PoolProcess pool;
  pool.start();
  pool.stop();
  std::filesystem::remove_all(pool.folder() / "worker");
  const Output good = pool.gpupoold({"--config", pool.config(), "--check-config"});
  INFO(good.error);
  CHECK(good.exit_code == 0);
  CHECK(good.out.find("is good") != std::string::npos);
  CHECK(good.out.find("are whole") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(pool.folder() / "worker"));

  const auto model = pool.folder() / "model";
  std::filesystem::create_directory(model);
  write(pool.folder() / "bad.toml", "[[apps]]\nname = \"emoji\"\nmodel = \"model\"\n");
  const Output bad = pool.gpupoold({"--config", pool.folder() / "bad.toml", "--check-config"});
  CHECK(bad.exit_code == 2);
  CHECK(bad.error.find("apps.emoji.model: ") != std::string::npos);
  CHECK(bad.error.find("config.json") != std::string::npos);
}

}  // namespace gpupool::test
