#pragma once
// What the broker itself finds against a request, in the order of design section 3; the first
// failure wins. The ledger puts its own checks (ids, job count, quota) in their places among these,
// so a verdict found here is carried to the ledger, never answered directly. Pure functions.

#include <cstdint>
#include <string>

#include "actors/messages.h"
#include "config/config.h"

namespace gpupool {

// The shape of a request after its defaults are filled in, and the verdict on it.
struct Admission {
  std::string partition = "default";
  std::string size;
  std::uint32_t slots = 1;
  std::uint32_t factor = 1;
  Duration declared{};
  Duration occupancy{};
  Duration app_longest{};
  Errc verdict{};  // 0: nothing against it yet
  std::int64_t want = 0;
  std::int64_t have = 0;
  std::string detail;
  Spread spread = Spread::devices;
  std::string files;       // SHA-256 of the upload that it works on; empty: none
  bool automatic = false;  // what is held at first is learned, and `declared` the longest
};

// A quote is asked before there are arguments: they are not looked at.
enum class Asking : std::uint8_t { submit, quote };

// Everything that follows from the configuration alone: bad_request to illegal_duration.
Admission examine(const Config& config, const JobRequest& body, Asking asking = Asking::submit);

}  // namespace gpupool
