#pragma once
// What a worker and the program of an executor say to each other over the executor's socket
// (descriptor 3 of the program): frames of a 32-bit little-endian length and that many packed
// bytes. The program says ChildReady once, then serves one run after the other; SIGTERM during a
// run stops that run at its next step, SIGTERM between runs and the end of the socket end the
// program. Plain values; a FrameReader belongs to one socket.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "actors/messages.h"
#include "actors/worker/command_plan.h"
#include "base/pack.h"
#include "config/limits.h"

namespace gpupool {

struct ChildRun {
  JobId job;
  std::uint32_t attempt = 0;
  std::vector<Argument> arguments;
  std::uint32_t rank = 0;  // of the programs that do it together
  std::uint32_t ranks = 1;
  CommandPlan plan;  // of a command app
  auto fields() { return std::tie(job, attempt, arguments, rank, ranks, plan); }
};

// What another rank of this run has left.
struct ChildFound {
  JobId job;
  std::uint32_t attempt = 0;
  std::string key;
  std::string value;
  auto fields() { return std::tie(job, attempt, key, value); }
};

// For the other ranks of this run.
struct ChildLeft {
  JobId job;
  std::uint32_t attempt = 0;
  std::string key;
  std::string value;
  auto fields() { return std::tie(job, attempt, key, value); }
};

// What the app needs is resident.
struct ChildReady {
  std::uint32_t protocol = 1;
  auto fields() { return std::tie(protocol); }
};

struct ChildBegan {
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(job, attempt); }
};

struct ChildStep {
  JobId job;
  std::uint32_t attempt = 0;
  std::uint32_t step = 0;
  std::uint32_t of_steps = 0;
  auto fields() { return std::tie(job, attempt, step, of_steps); }
};

struct ChildResult {
  JobId job;
  std::uint32_t attempt = 0;
  std::string media_type;
  std::string bytes;
  auto fields() { return std::tie(job, attempt, media_type, bytes); }
};

// The program wants what follows of the files of this run.
struct ChildWants {
  JobId job;
  std::uint32_t attempt = 0;
  std::int64_t offset = 0;
  auto fields() { return std::tie(job, attempt, offset); }
};

struct ChildPiece {
  JobId job;
  std::uint32_t attempt = 0;
  std::int64_t offset = 0;
  std::int64_t total = 0;
  std::string bytes;
  Errc error{};
  auto fields() { return std::tie(job, attempt, offset, total, bytes, error); }
};

// The run ended without a result: program_failed by its own fault, anything else by the pool's.
struct ChildFailed {
  JobId job;
  std::uint32_t attempt = 0;
  Errc cause{};
  std::string detail;
  auto fields() { return std::tie(job, attempt, cause, detail); }
};

// A rank above 0 did its part.
struct ChildHelped {
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(job, attempt); }
};

struct ChildStopped {
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(job, attempt); }
};

// A command wrote this, or, with `left_out`, so many bytes that its log has no room for.
struct ChildWrote {
  JobId job;
  std::uint32_t attempt = 0;
  LogStream stream = LogStream::output;
  std::string bytes;
  std::int64_t left_out = 0;
  auto fields() { return std::tie(job, attempt, stream, bytes, left_out); }
};

// The picture that this run draws, as it forms: a PNG of at most limits::chunk_bytes_max.
struct ChildPreview {
  JobId job;
  std::uint32_t attempt = 0;
  std::string bytes;
  auto fields() { return std::tie(job, attempt, bytes); }
};

// A command is over, reaped, and nothing that it started is left in its sandbox. `files` is a tar
// archive of what it left in $GPUPOOL_OUT; empty: nothing. `stopped`: it was sent SIGTERM before.
struct ChildEnded {
  JobId job;
  std::uint32_t attempt = 0;
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
  bool stopped = false;
  Duration ran{};      // from exec to reaped
  std::string detail;  // why it could not be run, by its own fault; empty: it ran
  std::string files;
  auto fields() { return std::tie(job, attempt, exit_code, signal, stopped, ran, detail, files); }
};

using ToChild = std::variant<ChildRun, ChildFound, ChildPiece>;
using FromChild =
    std::variant<ChildReady, ChildBegan, ChildStep, ChildResult, ChildFailed, ChildStopped,
                 ChildLeft, ChildHelped, ChildWrote, ChildEnded, ChildWants, ChildPreview>;

inline constexpr std::size_t frame_head_bytes = 4;
inline constexpr std::size_t child_frame_bytes_max = limits::result_bytes_max + 4096;

template <class Message>
std::string frame_of(const Message& message) {
  const std::string packed = pack(message);
  std::string frame;
  frame.reserve(frame_head_bytes + packed.size());
  for (std::size_t i = 0; i < frame_head_bytes; ++i)
    frame += static_cast<char>(packed.size() >> (8 * i) & 0xffU);
  return frame += packed;
}

// Puts frames together again from whatever pieces the socket gives.
template <class Message>
class FrameReader {
 public:
  void add(std::string_view bytes) { bytes_.append(bytes); }

  // The next whole message; empty: more bytes are needed. After an error the socket is of no use.
  Result<std::optional<Message>> next() {
    if (bytes_.size() < frame_head_bytes) return std::optional<Message>{};
    std::size_t length = 0;
    for (std::size_t i = frame_head_bytes; i-- > 0;)
      length = length << 8U | static_cast<unsigned char>(bytes_[i]);
    if (length > child_frame_bytes_max)
      return Error{.code = Errc::frame_too_large,
                   .want = static_cast<std::int64_t>(length),
                   .have = static_cast<std::int64_t>(child_frame_bytes_max)};
    if (bytes_.size() - frame_head_bytes < length) return std::optional<Message>{};
    auto message = unpack<Message>(std::string_view(bytes_).substr(frame_head_bytes, length));
    if (!message) return message.error();
    bytes_.erase(0, frame_head_bytes + length);
    return std::optional<Message>{*std::move(message)};
  }

 private:
  std::string bytes_;
};

}  // namespace gpupool
