#pragma once
// The devices of a machine, and how a configuration cuts them into slots, in words for people. What
// there is was read elsewhere (nvml.h, machine.h of cli/); here it is matched and told. Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace gpupool {

// Whatever a driver does not tell stays empty.
struct MigSlice {
  std::string uuid;
  std::string name;
  std::optional<std::int64_t> memory_bytes;
};

struct Gpu {
  std::uint32_t index = 0;
  std::string name;
  std::string uuid;
  std::optional<std::int64_t> memory_bytes;
  std::optional<std::int64_t> memory_used_bytes;
  std::optional<std::uint32_t> temperature;         // degrees Celsius
  std::optional<std::uint64_t> uncorrected_errors;  // since the driver was loaded; empty: no ECC
  std::optional<bool> is_sliced;                    // MIG is on
  std::vector<MigSlice> slices;
  std::string trouble;  // the driver's words, if it can't be asked; empty: it can
};

struct GpuList {
  std::string driver;
  std::vector<Gpu> gpus;
};

// Where a cuda device of a configuration is in a list, if it is.
struct FoundDevice {
  const Gpu* gpu = nullptr;
  const MigSlice* slice = nullptr;
};
FoundDevice find_device(const GpuList& list, std::string_view device);

// How far the jobs on this device are kept apart, and from whom.
std::string isolation_of(const DeviceConfig& device, const FoundDevice& found);

// What does not go together between a configuration and what was found: missing, named twice, in
// the way of each other. Empty: all is well. `list`: null: the driver could not be asked.
std::vector<std::string> mismatches(const WorkerConfig& worker, const GpuList* list);

// "141 GB" or "24.0 GB": powers of ten, as configurations and data sheets count.
std::string gigabytes(std::int64_t bytes);

}  // namespace gpupool
