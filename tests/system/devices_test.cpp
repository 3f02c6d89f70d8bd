// A node that lends a GPU which is not there, and one whose health a stand-in of NVML tells.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using nlohmann::json;

// No machine has this one.
constexpr const char* absent_gpu =
    "[[worker.devices]]\nkind = \"cuda\"\ndevice = \"GPU-00000000-dead-beef-0000-000000000000\"\n";

// GPU 0 of the stand-in, for jobs that do nothing and so need no GPU.
constexpr const char* watched_gpu =
    "health_interval_s = 0.05\noverheat_s = 0\n[[worker.devices]]\nkind = \"cuda\"\ndevice = "
    "\"0\"\n";
constexpr const char* nothing_app = "[[apps]]\nname = \"nothing\"\nexecutor = \"noop\"\n";

// A configuration of devices, for a daemon that nobody keeps.
std::string file_of(const PoolProcess& pool, const std::string& devices) {
  const std::filesystem::path file = pool.folder() / "devices.toml";
  std::ofstream(file) << "[broker]\nclient_endpoint = \"tcp://127.0.0.1:*\"\n"
                      << nothing_app << devices;
  return file.string();
}

json slots_of(const PoolProcess& pool) {
  const Output output = pool.gpupool("root", {"nodes", "--json"});
  INFO(output.out << output.error);
  REQUIRE(output.exit_code == 0);
  return json::parse(output.out)["rows"];
}

std::string why_of(const PoolProcess& pool) { return slots_of(pool)[0]["why"].dump(); }

// A variable of this process, and so of the pools that it starts.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

// A pool whose only slot is on GPU 0 of the stand-in.
class WatchedPool : public PoolProcess {
 public:
  WatchedPool() : PoolProcess({.settings = nothing_app, .worker_settings = watched_gpu}) {
    say("");
    start();
  }
  void say(const std::string& words) const { std::ofstream(today_) << words << "\n"; }
  bool says_why(const std::string& words) const {
    return wait_until(seconds(20), [&] { return why_of(*this).find(words) != std::string::npos; });
  }
  bool is_free() const {
    return wait_until(seconds(20), [&] { return slots_of(*this)[0]["slot_state"] == "free"; });
  }

 private:
  const std::filesystem::path today_ = folder() / "today";
  const Variable library_{"GPUPOOL_NVML", program("libfake_nvml.so").string()};
  const Variable words_{"FAKE_NVML", today_.string()};
};

}  // namespace

#ifdef GPUPOOL_CUDA

TEST_CASE("Jobs run on the CPU while a node's GPU is not there, and it says why") {
  PoolProcess pool({.worker_settings = std::string(absent_gpu) + one_slot});
  pool.start();
  const auto ada = pool.client("ada");
  for (int i = 0; i < 2; ++i) {
    submit_picture(*ada, 4);
    const auto done = wait_for_end(*ada);
    REQUIRE(done);
    CHECK(done->receipt.outcome == Outcome::succeeded);
    CHECK(done->receipt.charged == cost_of(done->receipt.ran, 1));
  }
  REQUIRE(
      pool.log_says("slot_out node=node-1: slot 0 takes no jobs: gpupool-diffusion: "
                    "device_failed: No CUDA GPUs are available"));
  const json slots = slots_of(pool);
  CHECK(slots[0]["slot_state"] == "down");
  CHECK_THAT(slots[0]["why"].dump(), Catch::Contains("No CUDA GPUs are available"));
  CHECK(slots[1]["slot_state"] == "free");
  CHECK(slots[1]["why"] == "");
}

TEST_CASE("Memory errors take a GPU's slot out until an operator resumes its node") {
  WatchedPool pool;
  const auto ada = pool.client("ada");
  const auto run = [&] {
    (void)ada->submit(new_request(), {.app = "nothing", .declared = seconds(5), .detached = true});
  };
  run();
  REQUIRE(wait_for_end(*ada));
  pool.say("errors");
  REQUIRE(pool.says_why("3 uncorrected memory errors"));
  run();
  REQUIRE(wait_for_state(*ada, JobState::queued));
  const Output resumed = pool.gpupool("root", {"resume", "node-1"});
  CHECK(resumed.exit_code == 0);
  CHECK_THAT(resumed.out, Catch::Contains("tries the slots again that it took out"));
  const auto done = wait_for_end(*ada);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);
  CHECK(done->receipt.attempts == 1);
  CHECK(pool.log_says("slot 0 takes jobs again"));
}

TEST_CASE("A hot GPU's slot comes back by itself, a lost one's when it is resumed") {
  WatchedPool pool;
  REQUIRE(pool.is_free());
  pool.say("hot");
  REQUIRE(pool.says_why("over 90 degrees Celsius"));
  pool.say("");
  REQUIRE(pool.is_free());
  pool.say("lost");
  REQUIRE(pool.says_why("GPU lost: GPU is lost"));
  CHECK(pool.log_says("slot_out node=node-1: slot 0 takes no jobs: GPU lost"));
  pool.say("");
  REQUIRE(pool.gpupool("root", {"resume", "node-1"}).exit_code == 0);
  CHECK(pool.is_free());
}

TEST_CASE("Without NVML a node with a GPU says once that nobody sees its health") {
  const Variable nowhere("GPUPOOL_NVML", "/nowhere/libnvidia-ml.so.1");
  PoolProcess pool({.settings = nothing_app, .worker_settings = watched_gpu});
  pool.start();
  CHECK(pool.log_says("health_unwatched: the health of this node's GPUs cannot be seen"));
  CHECK(slots_of(pool)[0]["slot_state"] == "free");
}

#else

TEST_CASE("A build without the CUDA device refuses to lend a GPU, and says what to build with") {
  WARN("this build has no CUDA device: the tests of its slots are skipped");
  PoolProcess pool;
  const Output output = pool.gpupoold({"--config", file_of(pool, absent_gpu)});
  CHECK(output.exit_code == 1);
  CHECK_THAT(output.error, Catch::Contains("cmake -DGPUPOOL_CUDA=ON"));
}

#endif

TEST_CASE("gpupoold devices lists a machine's GPUs, and what a configuration makes of them") {
  const Variable library("GPUPOOL_NVML", program("libfake_nvml.so").string());
  PoolProcess pool;
  const std::string file = file_of(pool, std::string(absent_gpu) + one_slot);
  const Output all = pool.gpupoold({"devices"});
  CHECK(all.exit_code == 0);
  CHECK_THAT(all.out, Catch::Contains("driver: 580.65.06"));
  CHECK_THAT(all.out, Catch::Contains("gpu 1: NVIDIA H200"));
  CHECK_THAT(all.out, Catch::Contains("  MIG-00000000-0000-0000-0000-000000000003: NVIDIA H200 "
                                      "MIG 3g.71gb, 74.6 GB"));
  const Output cut = pool.gpupoold({"devices", "--json", "--config", file});
  CHECK(cut.exit_code == 1);  // it names a GPU that is not there
  const json found = json::parse(cut.out);
  CHECK(found["devices"].size() == 2);
  CHECK(found["devices"][0]["found"] == false);
  CHECK(found["gpus"].size() == 2);
  const Output checked = pool.gpupoold({"--check-config", "--config", file});
  CHECK(checked.exit_code == 2);
  CHECK_THAT(checked.error,
             Catch::Contains("worker.devices[0]: there is no device GPU-00000000-dead"));
  const Variable nowhere("GPUPOOL_NVML", "/nowhere/libnvidia-ml.so.1");
  const Output none = pool.gpupoold({"devices"});
  CHECK(none.exit_code == 0);
  CHECK_THAT(none.out, Catch::Contains("no GPU: /nowhere/libnvidia-ml.so.1 is not here"));
  CHECK(pool.gpupoold({"devices", "--nonsense"}).exit_code == 2);
}

}  // namespace gpupool::test
