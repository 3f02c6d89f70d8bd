#pragma once
// What a message that leaves an actor means for the log: most messages nothing, each happening of
// a pool (a job held, refused, leased, settled; a node joined or lost; a change by an operator) one
// line, told by the message that makes it known first. Never a token or a secret; what users write
// (prompts, the words of their programs) stays out. Pure; actors/perform.h calls it for everything
// that is sent.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "actors/effects.h"

namespace gpupool {

enum class LogLevel : std::uint8_t { debug = 1, info, warn, error, critical, off };

struct LogLine {
  LogLevel level{};
  std::string_view event;  // what happened, a literal: "held", "node_lost"
  std::string text;
  JobId job{};  // each of these may be empty
  AccountId account{};
  std::string node{};
  RequestId request{};
};

// Nothing if the message is no happening, or one below `least`; text is made only for the rest.
std::optional<LogLine> log_line(const Message& message, LogLevel least);

}  // namespace gpupool
