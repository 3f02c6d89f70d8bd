#pragma once
// CommandPlan: everything that the program of a command's executor has to know of one run: the
// words to execute, its whole environment, and what it may see and use. Made by the worker from the
// app's configuration, the slot and the request; a secret in it goes over the executor's socket and
// stands in no command line. Pure.

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "actors/messages.h"
#include "actors/worker/slot_share.h"
#include "base/result.h"
#include "config/config.h"

namespace gpupool {

// Where a command in a sandbox finds itself, and where what it leaves is taken from.
inline constexpr const char* sandbox_home = "/work";
inline constexpr const char* sandbox_out = "/out";

struct CommandPlan {
  std::vector<std::string> words;
  std::vector<std::string> environment;  // "NAME=value", without what depends on the folders
  SandboxKind sandbox = SandboxKind::bubblewrap;
  bool network = false;
  std::vector<std::string> read_only;
  std::string device;                // of a GPU, as configured; empty: none
  std::vector<std::uint32_t> cores;  // that it is kept on; empty: any
  std::int64_t memory_max_bytes = 0;
  std::int64_t scratch_bytes = 0;
  std::uint32_t processes_max = 0;
  Duration cpu_time_max{};  // of one process
  Duration kill_after{};    // after SIGTERM
  std::string files;        // SHA-256 of the archive that it works on; empty: none
  auto fields() {
    return std::tie(words, environment, sandbox, network, read_only, device, cores,
                    memory_max_bytes, scratch_bytes, processes_max, cpu_time_max, kill_after,
                    files);
  }
};

// bad_request: the request does not fit the app's parameters any more.
Result<CommandPlan> plan_of(const Config& config, const AppConfig& app, const SlotShare& share,
                            const StartRun& run);

}  // namespace gpupool
