#pragma once
// The inner end of a command's executor: the parent of the command itself, and in a sandbox its
// process 1. It executes the command with its limits and a clean state, tells the outer end when it
// began and how it ended, passes signals on, and takes everything with it when it goes. It is
// trusted, but reads nothing that the command writes.

#include <cstdint>
#include <string>
#include <vector>

#include "actors/worker/command_plan.h"

namespace gpupool {

// Descriptors that it finds open, beside the command's output and errors.
inline constexpr int inside_order_descriptor = 10;    // an InsideOrder, packed
inline constexpr int inside_socket_descriptor = 11;   // SOCK_SEQPACKET to the outer end
inline constexpr int inside_program_descriptor = 12;  // its own program, to be executed

struct InsideOrder {
  CommandPlan plan;
  std::vector<std::string> environment;  // all of it
  std::string folder;                    // to work in
  bool is_process_1 = false;
  auto fields() { return std::tie(plan, environment, folder, is_process_1); }
};

struct InsideReport {
  enum class Kind : std::uint32_t {
    here = 1,         // it runs: what goes wrong from now on is not the sandbox
    began = 2,        // the command was executed
    not_started = 3,  // it could not be: `number` is errno
    ended = 4,        // and reaped: `number` is its status as waitpid has it
  };
  Kind kind{};
  std::int32_t number = 0;
};

// What the outer end asks for.
enum class InsideOrderKind : std::uint32_t { warn = 1, terminate = 2, kill = 3 };

// main() of it; the exit code says nothing.
int run_inside();

}  // namespace gpupool
