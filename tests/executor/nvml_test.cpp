// NVML as this pool uses it, with a stand-in of the library: what is listed, what health is seen,
// and what is said when something of it is missing. And the monitor's thread.
#include "actors/worker/nvml.h"

#include "actors/worker/device_monitor.h"
#include "tests/executor/harness.h"

namespace gpupool {
namespace {

constexpr const char* first_uuid = "GPU-00000000-0000-0000-0000-000000000000";
constexpr const char* slice_uuid = "MIG-00000000-0000-0000-0000-000000000003";

// What is wrong with the stand-in's GPUs; the words are read at each of its calls.
class Today {
 public:
  Today() {
    say("");
    ::setenv("FAKE_NVML", file().c_str(), 1);
  }
  ~Today() { ::unsetenv("FAKE_NVML"); }
  void say(const std::string& words) const { std::ofstream{file()} << words << "\n"; }

 private:
  std::filesystem::path file() const { return folder_.path() / "today"; }
  TemporaryFolder folder_;
};

std::filesystem::path library(const std::string& name = "fake_nvml") {
  return built("lib" + name + ".so");
}

std::unique_ptr<Nvml> opened(const std::string& name = "fake_nvml") {
  auto nvml = Nvml::open(library(name));
  if (!nvml) FAIL(nvml.error().detail);
  return *std::move(nvml);
}

GpuList listed(const std::string& name = "fake_nvml") {
  auto list = opened(name)->list();
  REQUIRE(list);
  return *std::move(list);
}

WorkerConfig one_gpu() {
  return {.devices = {{}, {.kind = DeviceKind::cuda, .device = first_uuid}},
          .health_interval = milliseconds(5)};
}

}  // namespace

TEST_CASE("NVML lists whole GPUs and MIG slices with all that it tells of them") {
  const Today today;
  const GpuList list = listed();
  CHECK(list.driver == "580.65.06");
  REQUIRE(list.gpus.size() == 2);
  const Gpu& whole = list.gpus[0];
  CHECK(whole.name == "NVIDIA H200");
  CHECK(whole.uuid == first_uuid);
  CHECK(whole.memory_bytes == 150'754'820'096);
  CHECK(whole.memory_used_bytes == 1'000'000'000);
  CHECK(whole.temperature == 41U);
  CHECK(whole.uncorrected_errors == 0U);
  CHECK(whole.is_sliced == false);
  CHECK(whole.slices.empty());
  const Gpu& cut = list.gpus[1];
  CHECK(cut.index == 1);
  CHECK(cut.is_sliced == true);
  REQUIRE(cut.slices.size() == 2);  // of seven places
  CHECK(cut.slices[1].uuid == slice_uuid);
  CHECK(cut.slices[1].name == "NVIDIA H200 MIG 3g.71gb");
  CHECK(cut.slices[1].memory_bytes == 74'625'056'768);
}

TEST_CASE("A GPU that can't be asked is listed with the driver's words, and the others as ever") {
  const Today today;
  today.say("lost");
  const GpuList list = listed();
  REQUIRE(list.gpus.size() == 2);
  CHECK(list.gpus[0].trouble == "GPU is lost");
  CHECK(list.gpus[1].trouble.empty());
  today.say("none");
  CHECK(listed().gpus.empty());
}

TEST_CASE("What an old driver does not have stays empty") {
  const Today today;
  const GpuList list = listed("fake_nvml_old");
  CHECK(list.driver.empty());
  REQUIRE(list.gpus.size() == 2);
  CHECK(list.gpus[0].uuid == first_uuid);
  CHECK_FALSE(list.gpus[0].temperature);
  CHECK_FALSE(list.gpus[0].uncorrected_errors);
  CHECK_FALSE(list.gpus[1].is_sliced);
  const DeviceHealth health = opened("fake_nvml_old")->health_of("0");
  CHECK_FALSE(health.lost);
  CHECK(health.temperature == 0);
}

TEST_CASE("Without NVML, a function of it, or a driver, the answer says which") {
  const Today today;
  const auto none = Nvml::open("/nowhere/libnvidia-ml.so.1");
  REQUIRE_FALSE(none);
  CHECK(none.error().code == Errc::unsupported);
  CHECK_THAT(none.error().detail, Catch::StartsWith("/nowhere/libnvidia-ml.so.1 is not here"));
  const auto broken = Nvml::open(library("fake_nvml_broken"));
  REQUIRE_FALSE(broken);
  CHECK(broken.error().code == Errc::unsupported);
  CHECK_THAT(broken.error().detail, Catch::Contains("has no nvmlDeviceGetUUID"));
  today.say("no_driver");
  const auto stopped = Nvml::open(library());
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == Errc::device_failed);
  CHECK(stopped.error().detail == "NVML does not start: Driver Not Loaded");
}

TEST_CASE("Health is seen by number and by UUID, and a slice has that of its GPU") {
  const Today today;
  const auto nvml = opened();
  for (const std::string device : {"0", first_uuid, "1", slice_uuid}) {
    INFO(device);
    const DeviceHealth health = nvml->health_of(device);
    CHECK_FALSE(health.lost);
    CHECK(health.temperature == 41);
    CHECK(health.uncorrected_errors == 0);
  }
  today.say("hot errors");
  CHECK(nvml->health_of("0").temperature == 97);
  CHECK(nvml->health_of(first_uuid).uncorrected_errors == 3);
  CHECK(nvml->health_of(slice_uuid).temperature == 41);
  today.say("lost");
  CHECK(nvml->health_of("0").lost);
  CHECK(nvml->health_of(first_uuid).lost);
  CHECK(nvml->health_of(first_uuid).detail == "GPU is lost");
  CHECK_FALSE(nvml->health_of("1").lost);
  for (const std::string nowhere : {"2", "GPU-00000000-0000-0000-0000-000000000009"}) {
    CHECK(nvml->health_of(nowhere).lost);
    CHECK(nvml->health_of(nowhere).detail == "not found");
  }
}

TEST_CASE("A monitor reports every look at the GPUs of the configuration, by their places") {
  const Today today;
  Reports reports;
  DeviceMonitor monitor(one_gpu(), library(),
                        {.seen = [&](const DeviceHealth& one) { reports.add(one); },
                         .blind = [](const Error& error) { FAIL(error.detail); }});
  const auto first = reports.next<DeviceHealth>();
  REQUIRE(first);
  CHECK(first->device == 1);
  CHECK(first->temperature == 41);
  today.say("lost");
  CHECK(eventually([&] {
    const auto next = reports.next<DeviceHealth>();
    return next && next->lost;
  }));
}

TEST_CASE("A monitor without NVML says so once, and sees as soon as it is there") {
  const Today today;
  today.say("no_driver");
  Reports reports;
  std::atomic<int> blind = 0;
  DeviceMonitor monitor(one_gpu(), library(),
                        {.seen = [&](const DeviceHealth& one) { reports.add(one); },
                         .blind = [&](const Error&) { ++blind; }});
  CHECK(eventually([&] { return blind == 1; }));
  today.say("");
  CHECK(reports.next<DeviceHealth>());
  CHECK(blind == 1);
}

TEST_CASE("A driver that does not come back keeps neither a monitor nor its owner") {
  const Today today;
  today.say("silent");
  const Instant before = boot_time();
  {
    DeviceMonitor monitor(one_gpu(), library(), {.seen = [](const DeviceHealth&) {}, .blind = {}});
  }
  CHECK(boot_time() - before < seconds(10));
}

}  // namespace gpupool
