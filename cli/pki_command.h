#pragma once
// `gpupool pki`: makes a pool's own authority and the certificates by which its machines know each
// other, and shows what is in one. No pool and no other program is needed. The authority's key
// never leaves its folder, a secret's file is its owner's alone, no file is written over unless a
// renewal was asked for, and no secret is printed.

#include <cstdint>
#include <string>
#include <vector>

#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

struct PkiOptions {
  std::string folder = "pki";
  std::string pool = "gpupool";
  std::string node;
  std::vector<std::string> addresses;
  std::int64_t authority_days = 3'650;
  std::int64_t node_days = 365;
  bool renew = false;
  std::string file;  // to show
};

// ca.certificate and ca.key.
ExitCode make_pool_authority(const Connection& connection, const PkiOptions& options);
// NODE.certificate and NODE.key, and what to do with them.
ExitCode make_node_certificate(const Connection& connection, const PkiOptions& options);
ExitCode show_certificate(const Connection& connection, const PkiOptions& options);

}  // namespace gpupool
