#pragma once
// How the commands reach a pool: where it is, who asks, and what Ctrl-C does meanwhile.

#include <memory>
#include <string>

#include "base/result.h"
#include "net/client.h"

namespace gpupool {

// What every command that asks a pool has in common.
struct Connection {
  std::string endpoint;    // or several, with commas
  std::string token_file;  // empty: the environment's GPUPOOL_TOKEN, else no token
  std::string server_key;  // Z85, or @FILE that holds it; empty: not encrypted
  bool json = false;
};

// The token of `--token-file` or GPUPOOL_TOKEN, without the white space around it. Empty: none.
Result<std::string> read_token(const std::string& token_file);

// The key itself, out of the file if it names one.
Result<std::string> read_server_key(const std::string& key_or_file);

Result<std::unique_ptr<Client>> connect(const Connection& connection);

// For whoever watches a job's progress.
std::string lost_text(const LinkLost& lost);
std::string restored_text(const LinkRestored& restored);

// While it lives, Ctrl-C and SIGTERM interrupt the client's call and are counted; a third one ends
// the process at once. One at a time.
class InterruptGuard {
 public:
  explicit InterruptGuard(Client& client);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  int count() const;
};

// 64 bits from the system, for seeds and request ids. Only cli/ draws them.
std::uint64_t draw_random();

}  // namespace gpupool
