#pragma once
// What completes the command line of a program in a shell: its commands, their options, and the
// values of an option that has only some. Made of the command line as CLI11 knows it, so that a
// command is completed as soon as it is there. Pure.

#include <string>

#include "cli/command_tree.h"

namespace gpupool {

enum class Shell : std::uint8_t { bash, zsh, fish };

std::string completion_of(const CommandEntry& program, Shell shell);

}  // namespace gpupool
