// An executor for tests: speaks the protocol of actors/worker/executor_protocol.h and does what the
// run's "prompt" names, from drawing a picture to everything an executor should not do. Its "model"
// argument says how it starts: a path that ends in "broken" makes it exit, in "slow" never ready.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "actors/worker/executor_protocol.h"
#include "actors/worker/process.h"

namespace gpupool {
namespace {

void say(const FromChild& message) {
  if (!send_all(executor_socket_descriptor, frame_of(message))) ::_exit(3);
}

[[noreturn]] void wait_for_ever() {
  for (;;) ::pause();
}

// A grandchild in a session of its own that ignores SIGTERM and has lost its parent.
void leave_a_daemon() {
  if (::fork() != 0) return;
  ::setsid();
  ::signal(SIGTERM, SIG_IGN);
  if (::fork() != 0) ::_exit(0);
  wait_for_ever();
}

// How many descriptors beyond the standard ones and the socket were inherited.
std::string inherited_descriptors() {
  int count = 0;
  for (int number = executor_socket_descriptor + 1; number < 256; ++number)
    count += ::fcntl(number, F_GETFD) >= 0 ? 1 : 0;
  return std::to_string(count);
}

// Takes memory until the process may have no more of it; the limit keeps the machine out of it.
void leak_memory() {
  const rlimit most{512U * 1024 * 1024, 512U * 1024 * 1024};
  ::setrlimit(RLIMIT_AS, &most);
  std::vector<std::unique_ptr<std::string>> leaked;
  for (;;) leaked.push_back(std::make_unique<std::string>(1024 * 1024, 'x'));
}

// Children that have children, all of them deaf and in sessions of their own.
void leave_a_family(int generations) {
  for (int child = 0; child < 3 && generations > 0; ++child) {
    if (::fork() != 0) continue;
    ::setsid();
    ::signal(SIGTERM, SIG_IGN);
    leave_a_family(generations - 1);
    wait_for_ever();
  }
}

void write_lines(std::size_t bytes) {
  const std::string line = std::string(63, 'x') + "\n";
  for (std::size_t done = 0; done < bytes; done += line.size())
    std::fwrite(line.data(), 1, line.size(), stderr);
}

// "result of N bytes" gives N.
std::size_t wished_bytes(const std::string& wish) {
  const std::string start = "result of ";
  return wish.starts_with(start) ? std::strtoull(wish.c_str() + start.size(), nullptr, 10) : 0;
}

class FakeExecutor {
 public:
  explicit FakeExecutor(FileDescriptor signals) : signals_(std::move(signals)) {}

  int serve() {
    say(ChildReady{});
    for (;;) {
      pollfd sources[] = {{signals_.get(), POLLIN, 0}, {executor_socket_descriptor, POLLIN, 0}};
      ::poll(sources, 2, -1);
      if (sources[0].revents != 0) return 0;
      char buffer[16 * 1024];
      const ssize_t got = ::recv(executor_socket_descriptor, buffer, sizeof buffer, 0);
      if (got <= 0) return 3;
      inbox_.add({buffer, static_cast<std::size_t>(got)});
      while (const auto message = *inbox_.next()) run(std::get<ChildRun>(*message));
    }
  }

 private:
  void run(const ChildRun& run) {
    const std::string wish = run.arguments.empty() ? "" : run.arguments.front().value;
    if (wish == "exit before it begins") ::_exit(7);
    say(ChildBegan{run.job, run.attempt});
    say(ChildStep{run.job, run.attempt, 1, 2});
    misbehave(wish);
    if (wish == "fail") {
      say(ChildFailed{run.job, run.attempt, Errc::program_failed, "it did not want to"});
    } else if (wish == "draw until stopped") {
      pollfd stop{signals_.get(), POLLIN, 0};
      ::poll(&stop, 1, -1);
      signalfd_siginfo signal;
      if (::read(signals_.get(), &signal, sizeof signal) > 0)
        say(ChildStopped{run.job, run.attempt});
    } else {
      if (wish == "leave a daemon") leave_a_daemon();
      if (wish == "write a log") std::fputs("to stdout\n", stdout), std::fflush(stdout);
      if (wish == "write a log") std::fputs("to stderr\n", stderr);
      if (wish == "write much") write_lines(3U * 1024 * 1024);
      std::string picture =
          wish == "count descriptors" ? inherited_descriptors() : "picture of " + wish;
      if (wish.starts_with("show ")) {
        const char* value = std::getenv(wish.c_str() + 5);
        picture = value != nullptr ? value : "nothing";
      }
      if (const std::size_t bytes = wished_bytes(wish)) picture.assign(bytes, 'p');
      say(ChildResult{run.job, run.attempt, "text/plain", picture});
    }
  }

  void misbehave(const std::string& wish) {
    if (wish == "crash") {
      ::signal(SIGSEGV, SIG_DFL);  // sanitizers would turn it into an exit
      ::raise(SIGSEGV);
    }
    if (wish == "exit") ::_exit(7);
    if (wish == "find its context poisoned") ::_exit(5);
    if (wish == "write and crash") {
      std::fputs("last words\n", stderr);
      ::_exit(9);
    }
    if (wish == "write and wait") {
      std::fputs("so far\n", stderr);
      wait_for_ever();
    }
    if (wish == "write for ever")
      for (;;) write_lines(1024 * 1024);
    if (wish == "leak memory") leak_memory();
    if (wish == "leave a family") {
      leave_a_family(3);
      wait_for_ever();
    }
    if (wish == "stop itself") ::raise(SIGSTOP);
    if (wish == "ignore SIGTERM") wait_for_ever();
    if (wish == "ignore SIGTERM with a daemon") {
      leave_a_daemon();
      wait_for_ever();
    }
    if (wish == "speak nonsense") {
      const std::string noise(64, '\xff');
      [[maybe_unused]] const auto sent = send_all(executor_socket_descriptor, noise);
      wait_for_ever();
    }
  }

  FileDescriptor signals_;
  FrameReader<ToChild> inbox_;
};

int run_program(int count, char** arguments) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  const std::string model = count > 2 ? arguments[2] : "";
  if (model.ends_with("broken")) {
    std::fputs("the model is no model\n", stderr);
    return 5;
  }
  sigset_t terminate;
  ::sigemptyset(&terminate);
  ::sigaddset(&terminate, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &terminate, nullptr);
  if (model.ends_with("slow")) wait_for_ever();
  return FakeExecutor{FileDescriptor{::signalfd(-1, &terminate, SFD_CLOEXEC)}}.serve();
}

}  // namespace
}  // namespace gpupool

int main(int count, char** arguments) { return gpupool::run_program(count, arguments); }
