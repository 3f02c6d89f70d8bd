// A real pool whose disk, processes and files fail under it: nothing acknowledged is lost, nothing
// is charged that was not delivered, and it goes on when the fault is gone.
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A small file system of the test's own, unmounted at its end. Only root can make one.
class SmallDisk {
 public:
  SmallDisk(unsigned long flags, const char* options) {
    std::string pattern = (fs::temp_directory_path() / "gpupool-disk-XXXXXX").string();
    if (!mkdtemp(pattern.data())) return;
    folder_ = pattern;
    is_mounted_ = mount("none", folder_.c_str(), "tmpfs", flags, options) == 0;
  }
  ~SmallDisk() {
    if (is_mounted_) umount2(folder_.c_str(), MNT_DETACH);
    std::error_code ignored;
    fs::remove(folder_, ignored);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool is_mounted() const { return is_mounted_; }
  const fs::path& folder() const { return folder_; }

  void fill() const {
    std::ofstream file(folder_ / "filler", std::ios::binary);
    const std::string page(4096, 'x');
    while (file.write(page.data(), static_cast<std::streamsize>(page.size())).flush()) {
    }
  }
  void make_room() const { fs::remove(folder_ / "filler"); }

 private:
  fs::path folder_;
  bool is_mounted_ = false;
};

bool is_skipped(const SmallDisk& disk) {
  if (!disk.is_mounted()) WARN("skipped: only root can mount the small disk that this test fills");
  return !disk.is_mounted();
}

fs::path source_model() { return fs::path(std::getenv("GPUPOOL_SOURCE_DIR")) / "models/emoji"; }

std::string app_of(const std::string& name, const fs::path& model, const std::string& more = "") {
  return "[[apps]]\nname = \"" + name + "\"\nmodel = \"" + model.string() + "\"\n" + more;
}

// Time has to pass for the pool to notice that a process stands still.
void let_pass(Duration time) { std::this_thread::sleep_for(std::chrono::milliseconds(time.ms)); }

void check_charged_once(Client& client, const JobDone& done) {
  CHECK(done.receipt.outcome == Outcome::succeeded);
  CHECK(done.receipt.charged.ms == done.receipt.ran.ms);
  const auto quota = client.quota();
  REQUIRE(quota);
  CHECK(quota->balance.used == done.receipt.charged);
  CHECK(quota->balance.held == GpuTime{});
}

// A safetensors file in its parts.
struct Weights {
  json header;
  std::string bytes;
};

Weights read_weights(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof length);
  std::string header(length, '\0');
  file.read(header.data(), static_cast<std::streamsize>(length));
  return {json::parse(header), {std::istreambuf_iterator<char>(file), {}}};
}

// A copy of the model whose weights were changed by `damage`.
template <class Damage>
fs::path damaged_model(const fs::path& folder, const std::string& name, Damage damage) {
  const fs::path model = folder / name;
  fs::create_directory(model);
  for (const char* file : {"config.json", "vocab.json"})
    fs::copy_file(source_model() / file, model / file);
  Weights weights = read_weights(source_model() / "emoji-32.safetensors");
  damage(weights);
  const std::string header = weights.header.dump();
  const std::uint64_t length = header.size();
  std::ofstream file(model / "emoji-32.safetensors", std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file << header << weights.bytes;
  return model;
}

// The first tensor in the file.
json& first_tensor(Weights& weights) {
  for (auto& [name, entry] : weights.header.items())
    if (name != "__metadata__" && entry["data_offsets"][0] == 0) return entry;
  throw std::runtime_error("no tensor starts the file");
}

}  // namespace

TEST_CASE("A full disk refuses new jobs, settles what runs, and the pool goes on with more room") {
  const SmallDisk disk(0, "size=24m");
  if (is_skipped(disk)) return;
  PoolProcess pool({.ledger_folder = disk.folder()});
  pool.start();
  const auto ada = pool.client("ada");
  const auto bob = pool.client("bob", 2);
  submit_picture(*ada, 200);
  REQUIRE(wait_for_state(*ada, JobState::running));

  disk.fill();
  submit_picture(*bob, 5);
  const auto refused = wait_for_refusal(*bob);
  REQUIRE(refused);
  CHECK(refused->code == Errc::ledger_unavailable);
  CHECK(pool.log_says("ledger_unavailable: the ledger cannot be written"));

  // The reserve is there for this.
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  check_charged_once(*ada, *done);

  disk.make_room();
  submit_picture(*bob, 5);
  const auto after = wait_for_end(*bob);
  REQUIRE(after);
  check_charged_once(*bob, *after);
}

TEST_CASE("A daemon on a read-only disk says what to do, and ends") {
  const SmallDisk disk(MS_RDONLY, "size=2m");
  if (is_skipped(disk)) return;
  PoolProcess pool({.ledger_folder = disk.folder()});
  pool.start_broker();
  CHECK(pool.broker_ended(seconds(20)) == 1);
  CHECK(pool.log_says("make its folder writable for this user, or name another ledger.path"));
  const Output checked = pool.gpupoold({"--config", pool.config(), "--check-config"});
  CHECK(checked.exit_code == 2);
  CHECK(checked.error.find("ledger.path: cannot write in") != std::string::npos);
}

TEST_CASE("A wall clock that jumped while the pool was down waits for the operator's word") {
  PoolProcess pool;
  pool.start();
  pool.stop();
  // To shift the boot clock of one process looks to it like a jump of the wall clock.
  const std::vector<std::string> shifted{"/usr/bin/unshare", "--time",      "--boottime", "7200",
                                         "--fork",           "--kill-child"};
  if (pool.gpupoold({"--version"}, shifted).exit_code != 0) {
    WARN("skipped: this machine gives no time namespace");
    return;
  }
  const Output refused = pool.gpupoold({"--config", pool.config()}, shifted);
  INFO(refused.error);
  CHECK(refused.exit_code == 1);
  CHECK(refused.error.find("start once with --accept-clock") != std::string::npos);
}

TEST_CASE("A stopped broker is waited for by its worker and its client") {
  PoolProcess pool({.two_processes = true});
  pool.start();
  const auto ada = pool.client("ada");
  submit_picture(*ada, 200);
  REQUIRE(wait_for_state(*ada, JobState::running));
  pool.signal_broker(SIGSTOP);
  let_pass(seconds(3));
  pool.signal_broker(SIGCONT);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  check_charged_once(*ada, *done);
}

TEST_CASE("A stopped worker counts as lost, its job runs again, and it is charged once") {
  PoolProcess pool({.two_processes = true, .broker_settings = "heartbeat_loss_s = 3\n"});
  pool.start();
  const auto ada = pool.client("ada");
  submit_picture(*ada, 200);
  REQUIRE(wait_for_state(*ada, JobState::running));
  pool.signal_worker(SIGSTOP);
  REQUIRE(pool.log_says("node_lost node=node-1"));
  CHECK(pool.log_says("requeued job="));
  pool.signal_worker(SIGCONT);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  check_charged_once(*ada, *done);
}

TEST_CASE("A worker process that vanishes takes no quota with it") {
  PoolProcess pool({.two_processes = true, .broker_settings = "heartbeat_loss_s = 3\n"});
  pool.start();
  const auto ada = pool.client("ada");
  submit_picture(*ada, 200);
  REQUIRE(wait_for_state(*ada, JobState::running));
  pool.kill_worker();
  REQUIRE(pool.log_says("node_lost node=node-1"));
  pool.start_worker();
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(ran_again(done->receipt));
  check_charged_once(*ada, *done);
}

TEST_CASE("An executor that stands still is replaced, and the run that it lost is not charged") {
  PoolProcess pool(
      {.settings = app_of("emoji", source_model(), "stall_s = 3\n"), .worker_settings = one_slot});
  pool.start();
  const auto ada = pool.client("ada");
  submit_picture(*ada, 200);
  REQUIRE(wait_for_state(*ada, JobState::running));
  REQUIRE(pool.signal_executors(SIGSTOP) > 0);
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(ran_again(done->receipt));
  CHECK(pool.log_says("was lost (executor_stalled)"));
  check_charged_once(*ada, *done);
}

TEST_CASE("kill -9 of the whole daemon: the client resumes its request under the same id") {
  PoolProcess pool({.broker_settings = "rejoin_grace_s = 1\n"});
  pool.start();
  const auto ada = pool.client("ada");
  const RequestId request = submit_picture(*ada, 200);
  const auto running = wait_for_state(*ada, JobState::running);
  REQUIRE(running);
  REQUIRE(wait_for_lease_on_record(*ada, running->job));
  pool.kill_broker();
  pool.start();
  const auto other = pool.client("ada", 2);
  REQUIRE(other->submit(request, picture(200)));
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.job == running->job);
  CHECK(ran_again(done->receipt));
  check_charged_once(*ada, *done);
  const auto same = wait_for_end(*other);
  REQUIRE(same);
  CHECK(same->receipt.job == running->job);
}

TEST_CASE("Weights that are cut, overlap, point outside or hold NaN fail their own app only") {
  const fs::path folder =
      fs::temp_directory_path() / ("gpupool-models-" + std::to_string(getpid()));
  fs::create_directory(folder);
  const std::string settings =
      app_of("emoji", source_model()) +
      app_of("cut", damaged_model(folder, "cut", [](Weights& w) { w.bytes.resize(1'000); })) +
      app_of("overlap", damaged_model(folder, "overlap",
                                      [](Weights& w) {
                                        json& offsets = first_tensor(w)["data_offsets"];
                                        offsets = {8, offsets[1].get<std::int64_t>() + 8};
                                      })) +
      app_of("outside", damaged_model(folder, "outside",
                                      [](Weights& w) {
                                        first_tensor(w)["data_offsets"] = {0, 1'000'000'000'000};
                                      })) +
      app_of("nan",
             damaged_model(folder, "nan", [](Weights& w) { w.bytes.replace(0, 4, 4, '\xff'); }));
  PoolProcess pool({.settings = settings});
  pool.start();
  const auto ada = pool.client("ada");
  for (const char* app : {"cut", "overlap", "outside", "nan"}) {
    JobRequest body = picture(5, seconds(20));
    body.app = app;
    REQUIRE(ada->submit(new_request(), body));
    const auto done = wait_for_end(*ada);
    if (!done) FAIL(app << " did not end; the pool's log:\n" << pool.log());
    INFO(app << ": " << done->receipt.detail);
    CHECK(done->receipt.outcome == Outcome::failed);
    CHECK(done->receipt.charged == GpuTime{});
    CHECK(done->receipt.detail.find("emoji-32.safetensors") != std::string::npos);
  }
  submit_picture(*ada, 5);
  const auto good = wait_for_end(*ada);
  REQUIRE(good);
  check_charged_once(*ada, *good);
  fs::remove_all(folder);
}

}  // namespace gpupool::test
