#pragma once
// What the outer end of a command's executor says to its worker, and the command's two outputs on
// their way there: as they come, up to what a log holds; the rest is only counted, as fast as it is
// written.

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "actors/worker/executor_protocol.h"
#include "actors/worker/fault.h"
#include "actors/worker/process.h"
#include "config/limits.h"

namespace gpupool {

// A worker that can't be spoken to is gone, and with it the need for this process.
inline void say(const FromChild& message) {
  if (!send_all(executor_socket_descriptor, frame_of(message)))
    ::_exit(static_cast<int>(ExecutorExit::worker_gone));
}

class OutputStream {
 public:
  OutputStream(LogStream stream, std::int64_t& kept, std::int64_t& left_out)
      : stream_(stream), kept_(kept), left_out_(left_out) {}

  void open(FileDescriptor from) { from_ = std::move(from); }
  int descriptor() const { return from_.get(); }

  // What there is now, a bounded part of it: to the worker, or into `instead`.
  void read(const ChildRun& run, std::string* instead) {
    char buffer[read_bytes];
    const ssize_t got = from_ ? ::read(from_.get(), buffer, sizeof buffer) : 0;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return from_.close();
    const std::string_view bytes(buffer, static_cast<std::size_t>(got));
    if (instead != nullptr) {
      instead->append(bytes.substr(0, complaint_bytes_max));
      return;
    }
    const std::int64_t most =
        stream_ == LogStream::error ? kept_bytes_max : kept_bytes_max - errors_bytes_kept;
    const auto room = static_cast<std::size_t>(std::max(most - kept_, std::int64_t{0}));
    const std::string_view taken = bytes.substr(0, room);
    kept_ += std::ssize(taken);
    left_out_ += std::ssize(bytes) - std::ssize(taken);
    if (!taken.empty())
      say(ChildWrote{
          .job = run.job, .attempt = run.attempt, .stream = stream_, .bytes = std::string(taken)});
  }

 private:
  static constexpr std::size_t read_bytes = 64 * 1024;
  static constexpr std::size_t complaint_bytes_max = 400;
  // Room for remarks, and for errors: a flood of output must not drown why it ended.
  static constexpr std::int64_t kept_bytes_max = limits::log_bytes_max - 8 * 1024;
  static constexpr std::int64_t errors_bytes_kept = 64 * 1024;

  const LogStream stream_;
  std::int64_t& kept_;      // of both streams together
  std::int64_t& left_out_;  // likewise
  FileDescriptor from_;
};

}  // namespace gpupool
