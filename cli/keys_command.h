#pragma once
// The commands that make keys, as pairs of files: `gpupool token keygen` for signing tokens,
// `gpupool keys curve` for encrypting connections. A secret's file is its owner's alone, no file is
// ever written over, and no secret is printed.

#include <string>

#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

struct KeygenOptions {
  std::string algorithm = "EdDSA";  // or "HS256"
  std::string out;                  // NAME.secret and NAME.public
};
ExitCode make_token_key(const Connection& connection, const KeygenOptions& options);

ExitCode make_curve_key(const Connection& connection, const std::string& out);

}  // namespace gpupool
