#pragma once
// What the process tests share: a folder that goes away, a host with real supervisors and the fake
// executor, and waits that are bounded and never a fixed sleep.

#include <poll.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "actors/worker/executor.h"
#include "actors/worker/process.h"
#include "base/clock.h"

namespace gpupool {

inline constexpr std::chrono::seconds patience{20};

// Whether the condition comes true before the tests' patience is over.
inline bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::poll(nullptr, 0, 5);
  }
  return true;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "gpupool-test-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Every process, zombies aside, with `text` in its command line.
inline std::vector<pid_t> processes_naming(const std::string& text) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const pid_t pid = static_cast<pid_t>(std::atol(entry.path().filename().c_str()));
    if (pid <= 0 || pid == ::getpid()) continue;
    std::ifstream file{entry.path() / "cmdline"};
    std::string line;
    std::getline(file, line);  // fails for a process that has just gone
    if (line.find(text) != std::string::npos) found.push_back(pid);
  }
  return found;
}

inline std::filesystem::path built(const std::string& program) {
  const char* folder = std::getenv("GPUPOOL_BUILD_DIR");
  return std::filesystem::path(folder ? folder : "build/debug") / program;
}

// The reports of a host, in order, to be waited for from the test's thread.
class Reports {
 public:
  void add(ToWorker message) {
    const std::scoped_lock lock{mutex_};
    all_.push_back(std::move(message));
    added_.notify_all();
  }

  // The next report of this kind, past whatever comes before it.
  template <class Report>
  std::optional<Report> next() {
    const auto found = next_of<Report>();
    if (!found) return std::nullopt;
    return std::get<Report>(*found);
  }
  // Of one of these kinds.
  template <class... Kinds>
  std::optional<ToWorker> next_of() {
    std::unique_lock lock{mutex_};
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
      while (read_ < all_.size()) {
        const ToWorker& one = all_[read_++];
        if ((std::holds_alternative<Kinds>(one) || ...)) return one;
      }
      if (added_.wait_until(lock, end) == std::cv_status::timeout) return std::nullopt;
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable added_;
  std::vector<ToWorker> all_;
  std::size_t read_ = 0;
};

class TestHost {
 public:
  explicit TestHost(const std::filesystem::path& folder, const std::string& model = "model",
                    std::int64_t result_bytes_max = 1 << 23) {
    config.worker.folder = folder.string();
    config.worker.devices = {DeviceConfig{}, DeviceConfig{}};
    config.apps = {{.name = "fake", .model = (folder / model).string()}};
    auto opened =
        ResultStore::open(folder / "results", {.bytes_max = result_bytes_max}, wall_time());
    REQUIRE(opened);
    results = *std::move(opened);
    open();
  }

  void open() {
    host.reset();
    auto opened =
        ExecutorHost::open(config, NodeId{7},
                           {.supervisor = built("gpupool-supervisor"),
                            .diffusion = built("gpupool-fake-executor"),
                            .diffusion_cuda = built("gpupool-fake-executor")},
                           *results, [this](ToWorker message) { reports.add(std::move(message)); });
    if (!opened) FAIL(opened.error().detail);
    host = *std::move(opened);
  }

  // Brings the executor up and hands it a run.
  void run(const std::string& wish, JobId job = JobId{1}, SlotIndex slot = {}) {
    start(slot);
    hand_over(wish, job, slot);
  }
  void start(SlotIndex slot = {}) {
    host->perform(StartExecutor{.slot = slot, .app = "fake"});
    REQUIRE(reports.next<ExecutorReady>());
  }
  void hand_over(const std::string& wish, JobId job = JobId{1}, SlotIndex slot = {}) {
    host->perform(StartRun{.slot = slot,
                           .job = job,
                           .attempt = 1,
                           .app = "fake",
                           .body = JobRequest{.app = "fake", .arguments = {{"prompt", wish}}}});
  }
  // Commands are performed in order: when a later one is answered, the earlier ones are done.
  void wait_until_performed() {
    host->perform(StartExecutor{.slot = {1}, .app = "unknown"});
    REQUIRE(reports.next<ExecutorExited>());
  }
  void end_within(Duration until_term, Duration grace) {
    const Instant at = boot_time() + until_term;
    host->perform(EndBy{.slot = {}, .at = at, .kill_at = at + grace});
  }

  Config config = default_config();
  std::unique_ptr<ResultStore> results;
  Reports reports;
  std::unique_ptr<ExecutorHost> host;
};

}  // namespace gpupool
