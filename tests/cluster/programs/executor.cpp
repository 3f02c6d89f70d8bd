// Stands in for gpupool-diffusion on the nodes of a test's cluster: it takes as many milliseconds
// as a request names steps and draws nothing, fails if the prompt says so, and writes down when it
// really was on its slot, by the clock of the host (CLOCK_MONOTONIC). A lock that the kernel takes
// back when this process ends, however it ends, tells whether anybody else was there.
//
// GPUPOOL_RUNS names the file of the node's lines:
//     began JOB ATTEMPT RANK DEVICE MS alone|beside
//     ended JOB ATTEMPT RANK DEVICE MS result|failed|stopped
// The device is told by its number of threads, which the tests give to each its own.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "actors/worker/executor_protocol.h"
#include "actors/worker/process.h"
#include "base/clock.h"

namespace gpupool::test {
namespace {

constexpr Duration step_time = milliseconds(200);

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string argument(const ChildRun& run, const std::string& key) {
  for (const Argument& one : run.arguments)
    if (one.key == key) return one.value;
  return "";
}

bool say(const FromChild& message) {
  return bool{send_all(executor_socket_descriptor, frame_of(message))};
}

class Executor {
 public:
  Executor(std::string device, FileDescriptor signals)
      : device_(std::move(device)),
        signals_(std::move(signals)),
        log_(::open(variable("GPUPOOL_RUNS").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                    0600)),
        lock_(::open((variable("GPUPOOL_RUNS") + "-slot-" + device_).c_str(),
                     O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {}

  int serve() {
    if (!log_ || !lock_ || !say(ChildReady{})) return 3;
    for (;;) {
      pollfd sources[] = {{signals_.get(), POLLIN, 0}, {executor_socket_descriptor, POLLIN, 0}};
      ::poll(sources, 2, -1);
      if (sources[0].revents != 0) return 0;
      char buffer[16 * 1024];
      const ssize_t got = ::recv(executor_socket_descriptor, buffer, sizeof buffer, 0);
      if (got <= 0) return 3;
      inbox_.add({buffer, static_cast<std::size_t>(got)});
      for (auto next = inbox_.next(); next && *next; next = inbox_.next())
        if (const auto* order = std::get_if<ChildRun>(&**next); order && !run(*order)) return 3;
    }
  }

 private:
  void note(const char* what, const ChildRun& run, const std::string& how) {
    const std::string line = std::string(what) + " " + std::to_string(run.job.value) + " " +
                             std::to_string(run.attempt) + " " + std::to_string(run.rank) + " " +
                             device_ + " " + std::to_string(read_clock(CLOCK_MONOTONIC).ms) + " " +
                             how + "\n";
    if (::write(log_.get(), line.data(), line.size()) < 0) ::_exit(4);
  }

  // The slot is left before the end is told: what follows on it can begin at once.
  bool run(const ChildRun& run) {
    const bool alone = ::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0;
    note("began", run, alone ? "alone" : "beside");
    const bool stopped = !say(ChildBegan{run.job, run.attempt}) || !take_time(run);
    const bool fails = argument(run, "prompt") == "fail";
    note("ended", run, stopped ? "stopped" : fails ? "failed" : "result");
    ::flock(lock_.get(), LOCK_UN);
    if (stopped) return say(ChildStopped{run.job, run.attempt});
    if (fails)
      return say(ChildFailed{run.job, run.attempt, Errc::program_failed, "it was asked to fail"});
    if (run.rank > 0) return say(ChildHelped{run.job, run.attempt});
    return say(ChildResult{run.job, run.attempt, "text/plain",
                           "a picture of job " + std::to_string(run.job.value)});
  }

  // Whether it was let to the end.
  bool take_time(const ChildRun& run) {
    const std::int64_t asked = std::strtoll(argument(run, "steps").c_str(), nullptr, 10);
    const Instant end = boot_time() + milliseconds(asked);
    const auto steps = static_cast<std::uint32_t>(asked / step_time.ms + 1);
    for (std::uint32_t step = 1; boot_time() < end; ++step) {
      pollfd stop{signals_.get(), POLLIN, 0};
      ::poll(&stop, 1, static_cast<int>(std::min(step_time, end - boot_time()).ms + 1));
      signalfd_siginfo signal;
      if (stop.revents != 0 && ::read(signals_.get(), &signal, sizeof signal) > 0) return false;
      if (run.rank == 0 && !say(ChildStep{run.job, run.attempt, std::min(step, steps), steps}))
        return false;
    }
    return true;
  }

  const std::string device_;
  FileDescriptor signals_;
  FileDescriptor log_;
  FileDescriptor lock_;
  FrameReader<ToChild> inbox_;
};

int run_program(int count, char** words) {
  std::string device = "0";
  for (int i = 1; i + 1 < count; ++i)
    if (std::string_view(words[i]) == "--threads") device = words[i + 1];
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t terminate;
  ::sigemptyset(&terminate);
  ::sigaddset(&terminate, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &terminate, nullptr);
  return Executor{device, FileDescriptor{::signalfd(-1, &terminate, SFD_CLOEXEC | SFD_NONBLOCK)}}
      .serve();
}

}  // namespace
}  // namespace gpupool::test

int main(int count, char** words) { return gpupool::test::run_program(count, words); }
