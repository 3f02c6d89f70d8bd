#pragma once
// The walls around a command. A run's executor first gives up what its user does not need: where
// the daemon is root it becomes somebody else, and for a sandbox it takes namespaces of its own
// with one bounded file system in memory, which holds all that the command writes and is gone with
// the process. bubblewrap then makes the sandbox inside it. One process, one run.

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "actors/worker/command_plan.h"
#include "base/result.h"

namespace gpupool {

// Root becomes `user`, for good, and `folder` (empty: none) theirs; anybody else stays who they
// are. unsupported: there is no such account, or it is root itself.
Status become(const std::string& user, const std::filesystem::path& folder);

// The supervisor's death is this process' too. A change of user or namespace forgets that, so it is
// said again after each. unsupported: it has died already.
Status stay_tied(pid_t supervisor);

// Where a sandbox's own folders lie, out of every other process' sight.
inline constexpr const char* sandbox_base = "/dev/shm";

// Namespaces of this process' own, and `bytes` of memory at sandbox_base. unsupported: why not.
Status take_namespaces(std::int64_t bytes);

// bubblewrap and its options, up to the program that it is to execute. No word of it is the
// caller's, and none is a secret. Precondition: take_namespaces().
std::vector<std::string> sandbox_words(const CommandPlan& plan);

// Makes the empty folders of a run below `base`: work, out, tmp and shm.
Status make_folders(const std::string& base);

}  // namespace gpupool
