#pragma once
// What a request may say to a command app, and the words that come of it. The broker's admission
// and the worker share this reading. Pure; usable from any thread.

#include <string>
#include <vector>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

// The argument of an app that runs any command: its words, each followed by a zero byte.
inline constexpr const char* command_argument = "command";

// And another one: the SHA-256 of the upload that it works on.
inline constexpr const char* files_argument = "files";
std::string files_of(const CommandConfig& command, const std::vector<Argument>& arguments);

// The secrets that still have to be set, with commas between them.
std::string unset_secrets(const CommandConfig& command);

std::string packed_words(const std::vector<std::string>& words);

// The command line, filled in: a value never leaves its word, nor splits it. bad_request: the
// detail names the parameter and what it takes.
Result<std::vector<std::string>> command_words(const CommandConfig& command,
                                               const std::vector<Argument>& arguments);

}  // namespace gpupool
