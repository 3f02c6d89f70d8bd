#include "actors/worker/device_list.h"

#include <cstdio>
#include <map>
#include <set>

#include "config/devices.h"

namespace gpupool {
namespace {

bool is_whole(const FoundDevice& found) { return found.gpu != nullptr && found.slice == nullptr; }

std::string place_of(std::size_t device) {
  return "worker.devices[" + std::to_string(device) + "]";
}

// What one device of the configuration asks for and can't have.
std::string mismatch_of(const DeviceConfig& device, const FoundDevice& found) {
  if (found.gpu == nullptr)
    return "there is no device " + device.device + "; `gpupoold devices` lists what there is";
  if (!found.gpu->trouble.empty()) return found.gpu->trouble;
  if (is_whole(found) && found.gpu->is_sliced.value_or(false))
    return "GPU " + std::to_string(found.gpu->index) +
           " is cut into MIG slices, and no process can have it whole; name its slices by their "
           "UUIDs";
  const auto memory = found.slice ? found.slice->memory_bytes : found.gpu->memory_bytes;
  if (memory && device.memory_bytes > *memory)
    return "memory_bytes is " + gigabytes(device.memory_bytes) + ", the device has " +
           gigabytes(*memory);
  return {};
}

}  // namespace

FoundDevice find_device(const GpuList& list, std::string_view device) {
  for (const Gpu& gpu : list.gpus) {
    if (device == std::to_string(gpu.index) || device == gpu.uuid) return {.gpu = &gpu};
    for (const MigSlice& slice : gpu.slices)
      if (device == slice.uuid) return {.gpu = &gpu, .slice = &slice};
  }
  return {};
}

std::string isolation_of(const DeviceConfig& device, const FoundDevice& found) {
  const bool is_slice = found.slice != nullptr || is_mig_uuid(device.device);
  const bool is_cpu = device.kind == DeviceKind::cpu;
  std::string what = "the GPU alone";
  if (is_slice) what = "a MIG slice: memory, units and memory errors of its own";
  if (is_cpu && device.cores.empty()) what = "threads, on any core, beside whatever else runs";
  if (is_cpu && !device.cores.empty()) what = "threads on cores of its own";
  if (device.slots == 1 || is_cpu) return what;
  return std::to_string(device.slots) + " jobs share " +
         std::string(is_slice ? "a MIG slice" : "the GPU") +
         ": they take turns on its units, and nothing keeps one from taking memory that another "
         "needs";
}

std::vector<std::string> mismatches(const WorkerConfig& worker, const GpuList* list) {
  std::vector<std::string> found;
  std::map<std::string, std::size_t> seen;  // UUIDs, by the first that named them
  for (std::size_t i = 0; i < worker.devices.size(); ++i) {
    const DeviceConfig& device = worker.devices[i];
    if (device.kind != DeviceKind::cuda) continue;
    if (list == nullptr) {
      found.push_back(place_of(i) + ": the driver cannot be asked for " + device.device);
      continue;
    }
    const FoundDevice one = find_device(*list, device.device);
    if (const std::string why = mismatch_of(device, one); !why.empty())
      found.push_back(place_of(i) + ": " + why);
    if (one.gpu == nullptr) continue;
    const std::string& uuid = one.slice ? one.slice->uuid : one.gpu->uuid;
    const auto [first, is_new] = seen.emplace(uuid, i);
    if (!is_new)
      found.push_back(place_of(i) + ": the same device as " + place_of(first->second) +
                      "; slots = 2 shares one");
  }
  return found;
}

std::string gigabytes(std::int64_t bytes) {
  const double count = static_cast<double>(bytes) / 1e9;
  char text[32];
  std::snprintf(text, sizeof text, count >= 100 ? "%.0f GB" : "%.1f GB", count);
  return text;
}

}  // namespace gpupool
