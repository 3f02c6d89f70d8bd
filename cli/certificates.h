#pragma once
// OwnCertificates: by what this machine is a member of the pool, while the daemon runs: the files
// of [cluster] as they were checked at the start, copied into memory of this process, because CAF
// reads its files at every connection and ends the process over one that it cannot use. A renewed
// file counts from the next start on. Main thread.

#include <optional>

#include "actors/log_line.h"
#include "actors/worker/process.h"
#include "base/result.h"
#include "config/config.h"
#include "net/certificate.h"
#include "net/certificate_handshakes.h"

namespace gpupool {

class OwnCertificates {
 public:
  // Of a configuration that names no certificates there are none. config_invalid otherwise.
  static Result<OwnCertificates> load(const ClusterConfig& cluster, Instant now);

  // Where CAF finds them; names nothing if there are none.
  const ClusterConfig& files() const { return files_; }

  // What the log has to say at the start, and again once a day: that they are good, or that they
  // expire in less than 30 days, and what to do.
  std::optional<LogLine> word(Instant now) const;

 private:
  ClusterConfig files_;
  std::vector<FileDescriptor> copies_;
  Membership membership_;
};

// "node-2, a member by CN=lab authority,O=gpupool until 2027-11-26T21:00:00Z, 364 days".
std::string text_of(const Membership& membership, Instant now);
// What to do before it expires; empty: more than 30 days are left.
std::string expiry_warning(const Membership& membership, Instant now);

// Who came by the node port, or was kept out; or what became of dialling.
LogLine log_line(const HandshakeNews& news);

}  // namespace gpupool
