#pragma once
// What `gpupool` returns to its shell (design section 6), and how an error becomes one.

#include "base/result.h"

namespace gpupool {

enum class ExitCode : int {
  done = 0,
  usage = 2,
  refused = 3,
  job_failed = 4,
  no_pool = 5,
  audit_differs = 6,
  interrupted = 130,
};

// A pool that is not there, silent or of another version is 5; what a pool answered is 3.
constexpr ExitCode exit_code_of(Errc code) {
  switch (code) {
    case Errc::interrupted:
      return ExitCode::interrupted;
    case Errc::not_connected:
    case Errc::timed_out:
    case Errc::outcome_unknown:
    case Errc::version_mismatch:
    case Errc::malformed_frame:
    case Errc::system_failed:
      return ExitCode::no_pool;
    case Errc::file_unreadable:
    case Errc::config_invalid:
      return ExitCode::usage;  // what the command line names: a token's file, a server's key
    case Errc::result_gone:
    case Errc::file_malformed:
    case Errc::file_unwritable:
      return ExitCode::job_failed;  // of the result of a job that is over
    default:
      return ExitCode::refused;
  }
}

}  // namespace gpupool
