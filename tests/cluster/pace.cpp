#include "tests/cluster/pace.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "actors/worker/process.h"
#include "base/clock.h"

namespace gpupool::test {
namespace {

constexpr Duration between = milliseconds(50);
constexpr std::size_t page_bytes = 4096;

}  // namespace

Pace::Pace(const std::filesystem::path& folder)
    : thread_([this, file = folder / "pace"] { measure(file); }) {}

Pace::~Pace() {
  stop_ = true;
  thread_.join();
}

void Pace::measure(const std::filesystem::path& file) {
  const FileDescriptor page{::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
  const std::array<char, page_bytes> bytes{};
  while (!stop_) {
    const Instant start = boot_time();
    std::this_thread::sleep_for(std::chrono::milliseconds(between.ms));
    if (::pwrite(page.get(), bytes.data(), bytes.size(), 0) < 0 || ::fdatasync(page.get()) != 0)
      return;  // the disk is full, or gone: what was measured so far counts
    longest_ms_ = std::max(longest_ms_.load(), (boot_time() - start - between).ms);
  }
}

}  // namespace gpupool::test
