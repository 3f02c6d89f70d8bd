#pragma once
// Daemon: everything that a gpupoold process runs, by the roles of its configuration: the ledger,
// the broker, the sessions and the client socket; the worker and its executors. Opens what the
// cores need, connects the shells, and takes it all down again. The main thread's; what happens on
// other threads reaches it through `call`.

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "cli/logging.h"
#include "config/config.h"

namespace gpupool {

inline constexpr int exit_cannot_start = 1;
inline constexpr int exit_in_doubt = 75;  // EX_TEMPFAIL: start again, and replay the journal
inline constexpr int exit_deposed = 76;   // another broker leads, or may

class Daemon {
 public:
  // `call` wakes the main thread, from any other; `log` outlives the daemon.
  Daemon(Config config, Log& log, std::function<void()> call);
  ~Daemon();

  // An error leaves nothing behind, once stop() has been called.
  Status start();
  // Another broker leads the journal: nothing runs yet, and look() has to be called every
  // JournalCandidate::look_every. The call that finds the journal free starts everything.
  bool standing_by() const;
  Status look();

  // Takes over what may change from a fresh configuration; says in the log what it did.
  void reload(const Result<Config>& fresh);

  // Nothing new starts from now on; what runs may come to its end within `limit`.
  void drain(Duration limit);
  // Whether everything that ran when the drain began has ended.
  bool drained() const;
  std::size_t clients() const;

  // To be called at least once an hour: the log hears once a day of certificates that expire soon.
  void watch_certificates();

  // Whether the actors have answered since the last call.
  bool is_alive();

  // The children die and the journal closes. CAF itself is left to the end of the process, since
  // its shutdown can hang.
  void stop();

 private:
  class Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace gpupool
