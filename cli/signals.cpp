#include "cli/signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "base/ensure.h"

namespace gpupool {

Signals::Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_ = FileDescriptor{::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)};
  calls_ = FileDescriptor{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  GPUPOOL_ENSURE(signals_ && calls_, errno);
}

Wake Signals::wait(Duration limit) {
  pollfd sources[] = {{signals_.get(), POLLIN, 0}, {calls_.get(), POLLIN, 0}};
  const auto limit_ms =
      static_cast<int>(std::clamp<std::int64_t>(limit.ms, 0, std::numeric_limits<int>::max()));
  ::poll(sources, 2, limit_ms);
  signalfd_siginfo signal;
  if (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    last_ = signal.ssi_signo == SIGHUP   ? "SIGHUP"
            : signal.ssi_signo == SIGINT ? "SIGINT"
                                         : "SIGTERM";
    return signal.ssi_signo == SIGHUP ? Wake::reload : Wake::end;
  }
  std::uint64_t calls = 0;
  return ::read(calls_.get(), &calls, sizeof calls) == sizeof calls ? Wake::called : Wake::time;
}

void Signals::call() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(calls_.get(), &one, sizeof one);
}

}  // namespace gpupool
