// Executors on GPUs, real and absent, and executors that are set aside, under real supervisors.
#include "actors/worker/executor_child.h"
#include "actors/worker/fault.h"
#include "tests/executor/harness.h"

namespace gpupool {
namespace {

constexpr const char* card = "GPU-00000000-0000-0000-0000-000000000001";

// Slot 0 is on a GPU, slot 1 on the CPU.
class GpuHost : public TestHost {
 public:
  explicit GpuHost(const std::filesystem::path& folder) : TestHost(folder) {
    config.worker.devices = {{.kind = DeviceKind::cuda, .device = card}, {}};
    config.apps.push_back({.name = "other", .model = config.apps.front().model});
    open();
  }
  std::string shown(const std::string& variable, SlotIndex slot, JobId job) {
    run("show " + variable, job, slot);
    const auto done = reports.next<ExecutorDone>();
    REQUIRE(done);
    const auto piece = results->read(done->result.hash, 0);
    REQUIRE(piece);
    host->perform(KillExecutor{.slot = slot});
    REQUIRE(reports.next<ExecutorExited>());
    return piece->bytes;
  }
};

std::size_t processes() { return descendants_of(::getpid()).size(); }

ExecutorExited end_of(const std::vector<std::string>& words, const std::filesystem::path& folder) {
  auto child = ExecutorChild::start(
      {.supervisor = built("gpupool-supervisor"), .command = words, .record = folder / "record"});
  REQUIRE(child);
  std::string said;
  REQUIRE(eventually([&] {
    (*child)->read_reports();
    said += (*child)->read_output();
    return (*child)->has_lost_supervisor() && (*child)->sweep();
  }));
  const SupervisorReport ending = (*child)->ending();
  return {.signal = ending.signal, .exit_code = ending.exit_code, .detail = said};
}

}  // namespace

TEST_CASE("An executor sees the GPU of its slot and no other, and one on the CPU what there was") {
  TemporaryFolder folder;
  ::setenv("CUDA_VISIBLE_DEVICES", "5,6", 1);
  GpuHost test{folder.path()};
  CHECK(test.shown("CUDA_VISIBLE_DEVICES", {0}, JobId{1}) == card);
  CHECK(test.shown("CUDA_DEVICE_ORDER", {0}, JobId{2}) == "PCI_BUS_ID");
  CHECK(test.shown("CUDA_VISIBLE_DEVICES", {1}, JobId{3}) == "5,6");
  CHECK(test.shown("CUDA_DEVICE_ORDER", {1}, JobId{4}) == "nothing");
  ::unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST_CASE(
    "A worker whose executors have no CUDA device refuses to lend GPUs, and says what to do") {
  TemporaryFolder folder;
  GpuHost test{folder.path()};
  test.host.reset();
  const auto opened = ExecutorHost::open(test.config, NodeId{7},
                                         {.supervisor = built("gpupool-supervisor"),
                                          .diffusion = built("gpupool-fake-executor"),
                                          .diffusion_cuda = folder.path() / "none"},
                                         *test.results, [](ToWorker) {});
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code == Errc::unsupported);
  CHECK_THAT(opened.error().detail, Catch::StartsWith("worker.devices[0] is a cuda device") &&
                                        Catch::Contains("cmake -DGPUPOOL_CUDA=ON"));
}

TEST_CASE("Where there is no such GPU the diffusion executor says so and ends with its own code") {
  TemporaryFolder folder;
  const char* source = std::getenv("GPUPOOL_SOURCE_DIR");
  const std::string model = std::filesystem::path(source ? source : ".") / "models/emoji";
  const auto with_cuda = built("gpupool-diffusion-cuda");
  const std::string program =
      std::filesystem::exists(with_cuda) ? with_cuda : built("gpupool-diffusion");
  // Not even a machine with GPUs has this one.
  const ExecutorExited exited = end_of(
      {program, "--model", model, "--device", "cuda:GPU-00000000-dead-beef-0000-000000000000"},
      folder.path());
  CHECK(exited.signal == 0);
  CHECK(exited.exit_code == static_cast<int>(ExecutorExit::device));
  CHECK((exited.detail.find("No CUDA GPUs are available") != std::string::npos ||
         exited.detail.find("this program has no CUDA device") != std::string::npos));
}

TEST_CASE("The diffusion executor refuses a device, or a mixture, that it does not know") {
  TemporaryFolder folder;
  const std::string program = built("gpupool-diffusion");
  const std::vector<std::string> start{program, "--model", "nowhere"};
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{},
                                             {"--device", "tpu"},
                                             {"--device", "cuda:0", "--threads", "1"},
                                             {"--threads", "1", "--precision", "f16"},
                                             {"--threads", "0"}}) {
    std::vector<std::string> words = start;
    words.insert(words.end(), more.begin(), more.end());
    const ExecutorExited exited = end_of(words, folder.path());
    CHECK(exited.exit_code == static_cast<int>(ExecutorExit::usage));
    CHECK_THAT(exited.detail, Catch::Contains("usage: gpupool-diffusion"));
  }
}

TEST_CASE("An executor that was set aside stays as it is, and is taken up by its app") {
  TemporaryFolder folder;
  GpuHost test{folder.path()};
  test.start({1});
  const auto before = processes();
  test.host->perform(SetAside{.slot = {1}});
  test.host->perform(StartExecutor{.slot = {1}, .app = "other"});
  auto ready = test.reports.next<ExecutorReady>();
  REQUIRE(ready);
  CHECK(ready->app == "other");
  CHECK(processes() == 2 * before);
  test.host->perform(SetAside{.slot = {1}});
  test.host->perform(StartExecutor{.slot = {1}, .app = "fake"});
  ready = test.reports.next<ExecutorReady>();
  REQUIRE(ready);
  CHECK(ready->app == "fake");
  CHECK(processes() == 2 * before);  // nothing was started
  test.hand_over("draw", JobId{1}, {1});
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->cause == Errc{});
}

TEST_CASE("One that was set aside is ended by its app's name, to the last process, and told so") {
  TemporaryFolder folder;
  GpuHost test{folder.path()};
  test.start({1});
  test.host->perform(SetAside{.slot = {1}});
  test.host->perform(StartExecutor{.slot = {1}, .app = "other"});
  REQUIRE(test.reports.next<ExecutorReady>());
  test.host->perform(KillExecutor{.slot = {1}, .app = "fake"});
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->app == "fake");
  CHECK(processes() == 2);
  test.host.reset();
  CHECK(processes() == 0);
}

TEST_CASE("Nothing that was set aside outlives its host") {
  TemporaryFolder folder;
  GpuHost test{folder.path()};
  test.start({1});
  test.host->perform(SetAside{.slot = {1}});
  test.host->perform(StartExecutor{.slot = {1}, .app = "other"});
  REQUIRE(test.reports.next<ExecutorReady>());
  test.host.reset();
  CHECK(processes() == 0);
}

}  // namespace gpupool
