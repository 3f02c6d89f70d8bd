#pragma once
// Whether this machine can give a command the sandbox that it is promised: asked once at start and
// by who checks a configuration. Never a silent run without one. Any thread.

#include <filesystem>
#include <string>

#include "base/result.h"
#include "config/config.h"

namespace gpupool {

// Some app of this configuration runs commands in a sandbox.
bool needs_sandbox(const Config& config);

// Makes one, runs nothing in it, and takes it down. unsupported: why it can't be made, in one line.
Status check_sandbox(const std::filesystem::path& program, const std::string& run_as);

}  // namespace gpupool
