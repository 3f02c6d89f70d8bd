#include "config/devices.h"

#include <algorithm>
#include <string>

#include "config/limits.h"
#include "config/text_rules.h"

namespace gpupool {
namespace {

constexpr Range threads_range{1, 1024};
constexpr Range temperature_range{30, 120};  // degrees Celsius that a GPU can have and live

// Eight, four, four, four and twelve hexadecimal digits.
bool is_uuid(std::string_view text) {
  constexpr std::string_view form = "00000000-0000-0000-0000-000000000000";
  return text.size() == form.size() &&
         std::equal(text.begin(), text.end(), form.begin(), [](char c, char formed) {
           const bool is_digit =
               (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
           return formed == '-' ? c == '-' : is_digit;
         });
}

// A number without zeros before it, so that one GPU has one spelling.
bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 3 && (text == "0" || text.front() != '0') &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

constexpr TextRule gpu_rule{
    .expected =
        "the GPU's number such as \"0\", or the UUID of a GPU (\"GPU-...\") or of a MIG "
        "slice (\"MIG-...\") as `gpupoold devices` prints it",
    .allows = [](std::string_view text) {
      return is_number(text) || is_gpu_uuid(text) || is_mig_uuid(text);
    }};

// Of a cpu device: cores, one for each thread.
void check_cores(Section& section, const std::vector<DeviceConfig>& before, DeviceConfig& device) {
  if (device.cores.empty()) return;
  const auto count = static_cast<std::uint32_t>(device.cores.size());
  if (!section.has("threads")) device.threads = count;
  if (device.threads != count)
    section.reject("cores",
                   "one core for each of the " + std::to_string(device.threads) + " threads",
                   std::to_string(count));
  if (count % device.slots != 0)
    section.reject("cores", "as many for each of the " + std::to_string(device.slots) + " slots",
                   std::to_string(count));
  for (const DeviceConfig& other : before)
    for (const std::uint32_t core : device.cores)
      if (std::find(other.cores.begin(), other.cores.end(), core) != other.cores.end())
        return section.reject("cores", "cores that no other device has",
                              std::to_string(core) + " again");
}

void check_kind(Section& section, const std::vector<DeviceConfig>& before,
                const DeviceConfig& device) {
  const auto refuse = [&](std::string_view key, std::string_view why) {
    if (section.has(key)) section.reject(key, why, "one");
  };
  if (device.kind == DeviceKind::cpu) {
    refuse("device", "nothing, as a cpu device is a set of threads and has no GPU");
    refuse("temperature_max", "nothing, as only GPUs are watched for their temperature");
    return;
  }
  refuse("threads", "nothing, as a cuda device computes on its GPU and has no threads");
  refuse("cores", "nothing, as a cuda device computes on its GPU and has no cores");
  if (device.device.empty()) return section.reject("device", gpu_rule.expected, "no such key");
  for (const DeviceConfig& other : before)
    if (other.kind == DeviceKind::cuda && other.device == device.device)
      return section.reject("device",
                            "a GPU or slice that no other device has (slots = 2 shares "
                            "one)",
                            "\"" + device.device + "\" again");
}

}  // namespace

bool is_gpu_uuid(std::string_view text) {
  return text.starts_with("GPU-") && is_uuid(text.substr(4));
}

bool is_mig_uuid(std::string_view text) {
  return text.starts_with("MIG-") && is_uuid(text.substr(4));
}

DeviceConfig read_device(Section& section, const std::vector<DeviceConfig>& before) {
  DeviceConfig device;
  std::string kind = "cpu";
  std::string precision = "f32";
  section.text("kind", kind, device_rule);
  section.text("device", device.device, gpu_rule);
  section.count("threads", device.threads, threads_range);
  section.numbers("cores", device.cores, {0, threads_range.high - 1});
  section.count("slots", device.slots, {1, limits::slots_per_node_max});
  section.text("partition", device.partition, name_rule);
  section.text("precision", precision, precision_rule);
  section.bytes("memory_bytes", device.memory_bytes, memory_range);
  section.count("temperature_max", device.temperature_max, temperature_range);
  if (kind == "cuda") device.kind = DeviceKind::cuda;
  if (precision == "bf16") device.precision = Precision::bf16;
  check_kind(section, before, device);
  if (device.kind == DeviceKind::cpu) check_cores(section, before, device);
  return device;
}

void check_memory(Section& section, const std::vector<DeviceConfig>& devices,
                  const AppConfig& app) {
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const std::int64_t most = devices[i].slot_memory();
    if (devices[i].partition != app.partition || most == 0 || app.memory_bytes <= most) continue;
    return section.reject("memory_bytes",
                          "at most " + std::to_string(most) + ", what a slot of worker.devices[" +
                              std::to_string(i) + "] has",
                          std::to_string(app.memory_bytes));
  }
}

}  // namespace gpupool
