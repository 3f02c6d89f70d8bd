#pragma once
// gpupool apps duplicate A B: a new app like an old one, as the tables of a configuration. Whatever
// is secret stays behind and is listed: the new app runs nothing until it has its own.

#include <string>

#include "cli/connection.h"
#include "cli/exit_code.h"
#include "config/config.h"

namespace gpupool {

struct DuplicateOptions {
  std::string config;
  std::string from;
  std::string to;
};

// The tables of `app` under another name. Precondition: `app` is a command app.
std::string tables_of(const AppConfig& app, const std::string& name);

ExitCode duplicate_app(const Connection& connection, const DuplicateOptions& options);

}  // namespace gpupool
