#include "cli/devices_command.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>

#include "actors/worker/nvml.h"

namespace gpupool {
namespace {

std::string text_in(const char* file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

// What stands behind `key` and its colon, of the first line that has it.
std::string_view value_of(std::string_view text, std::string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(key)) continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string_view::npos ? std::string_view() : line.substr(begin);
  }
  return {};
}

bool has_word(std::string_view words, std::string_view word) {
  for (std::size_t at = words.find(word); at != std::string_view::npos;
       at = words.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || words[at - 1] == ' ') && (end == words.size() || words[end] == ' '))
      return true;
  }
  return false;
}

std::uint32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(CPU_COUNT(&set), 1));
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : std::string(between)) + word;
  return text;
}

std::string line_of(const Gpu& gpu) {
  const std::string start = "gpu " + std::to_string(gpu.index) + ": ";
  if (!gpu.trouble.empty()) return start + "cannot be used: " + gpu.trouble + "\n";
  std::vector<std::string> parts{gpu.name, gpu.uuid};
  if (gpu.memory_bytes) {
    std::string memory = gigabytes(*gpu.memory_bytes);
    if (gpu.memory_used_bytes) memory += " (" + gigabytes(*gpu.memory_used_bytes) + " used)";
    parts.push_back(memory);
  }
  if (gpu.temperature) parts.push_back(std::to_string(*gpu.temperature) + " degrees Celsius");
  parts.push_back(gpu.uncorrected_errors
                      ? std::to_string(*gpu.uncorrected_errors) + " uncorrected memory errors"
                      : "memory errors are not counted");
  if (gpu.is_sliced.value_or(false))
    parts.push_back("MIG: " + std::to_string(gpu.slices.size()) + " slices");
  std::string text = start + joined(parts, ", ") + "\n";
  for (const MigSlice& slice : gpu.slices)
    text += "  " + slice.uuid + ": " + slice.name +
            (slice.memory_bytes ? ", " + gigabytes(*slice.memory_bytes) : "") + "\n";
  return text;
}

// "slot 3", or "slots 3 to 4".
std::string slots_text(std::uint32_t first, std::uint32_t count) {
  if (count == 1) return "slot " + std::to_string(first);
  return "slots " + std::to_string(first) + " to " + std::to_string(first + count - 1);
}

std::string what_of(const DeviceConfig& device, const FoundDevice& found) {
  std::string what = "cuda " + device.device;
  if (device.kind == DeviceKind::cpu)
    what =
        "cpu, " + std::to_string(device.threads) + (device.threads == 1 ? " thread" : " threads");
  if (found.slice)
    what += " (" + found.slice->name + ")";
  else if (found.gpu && !found.gpu->name.empty())
    what += " (" + found.gpu->name + ")";
  what += ", " + std::string(word_of(device.precision));
  if (device.memory_bytes > 0) what += ", " + gigabytes(device.slot_memory()) + " a slot";
  return what + ", partition " + device.partition;
}

FoundDevice found_of(const Machine& machine, const DeviceConfig& device) {
  if (device.kind != DeviceKind::cuda || !machine.gpus) return {};
  return find_device(*machine.gpus, device.device);
}

std::string text_of_cut(const Machine& machine, const Cut& cut) {
  std::string text = "\n" + cut.file + " lends:\n";
  std::uint32_t first = 0;
  for (const DeviceConfig& device : cut.worker->devices) {
    const FoundDevice found = found_of(machine, device);
    text += "  " + slots_text(first, device.slots) + ": " + what_of(device, found) + ": " +
            isolation_of(device, found) + "\n";
    first += device.slots;
  }
  if (!cut.sandbox.empty()) text += "  commands: " + cut.sandbox + "\n";
  for (const std::string& problem : problems_of(machine, *cut.worker))
    text += "problem: " + problem + "\n";
  return text;
}

Json json_of(const Gpu& gpu) {
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  Json json{{"index", gpu.index},
            {"name", gpu.name},
            {"uuid", gpu.uuid},
            {"memory_bytes", or_null(gpu.memory_bytes)},
            {"memory_used_bytes", or_null(gpu.memory_used_bytes)},
            {"temperature", or_null(gpu.temperature)},
            {"uncorrected_errors", or_null(gpu.uncorrected_errors)},
            {"mig", or_null(gpu.is_sliced)},
            {"slices", Json::array()},
            {"trouble", gpu.trouble.empty() ? Json(nullptr) : Json(gpu.trouble)}};
  for (const MigSlice& slice : gpu.slices)
    json["slices"].push_back({{"uuid", slice.uuid},
                              {"name", slice.name},
                              {"memory_bytes", or_null(slice.memory_bytes)}});
  return json;
}

}  // namespace

CpuFacts facts_of(const CpuTexts& texts, std::uint32_t cores) {
  constexpr std::array<std::string_view, 6> known{"avx2",        "fma",      "avx512f",
                                                  "avx512_bf16", "amx_bf16", "amx_int8"};
  CpuFacts facts{.model = std::string(value_of(texts.cpuinfo, "model name")), .cores = cores};
  const std::string_view flags = value_of(texts.cpuinfo, "flags");
  for (const std::string_view one : known)
    if (has_word(flags, one)) facts.features.emplace_back(one);
  const std::string_view kilobytes = value_of(texts.meminfo, "MemTotal");
  std::from_chars(kilobytes.data(), kilobytes.data() + kilobytes.size(), facts.memory_bytes);
  facts.memory_bytes *= 1024;
  return facts;
}

Machine look_around() {
  Machine machine{
      .cpu = facts_of({.cpuinfo = text_in("/proc/cpuinfo"), .meminfo = text_in("/proc/meminfo")},
                      usable_cores())};
  auto nvml = Nvml::open(nvml_library());
  auto list = nvml ? (*nvml)->list() : Result<GpuList>(nvml.error());
  if (list)
    machine.gpus = *std::move(list);
  else
    machine.without = list.error().detail;
  return machine;
}

std::vector<std::string> problems_of(const Machine& machine, const WorkerConfig& worker) {
  auto problems = mismatches(worker, machine.gpus ? &*machine.gpus : nullptr);
  for (std::size_t i = 0; i < worker.devices.size(); ++i) {
    const auto threads = worker.devices[i].threads;
    if (worker.devices[i].kind == DeviceKind::cpu && threads > machine.cpu.cores)
      problems.push_back("worker.devices[" + std::to_string(i) + "]: " + std::to_string(threads) +
                         " threads on " + std::to_string(machine.cpu.cores) + " cores take turns");
  }
  return problems;
}

std::string text_of(const Machine& machine, const std::optional<Cut>& cut) {
  const CpuFacts& cpu = machine.cpu;
  std::string text =
      "cpu: " + (cpu.model.empty() ? "of no name" : cpu.model) + ", " + std::to_string(cpu.cores) +
      (cpu.cores == 1 ? " core" : " cores") + ", " + gigabytes(cpu.memory_bytes) + ", " +
      (cpu.features.empty() ? "plain instructions" : joined(cpu.features, " ")) + "\n";
  if (!machine.gpus) {
    text += "no GPU: " + machine.without + "\n";
  } else if (machine.gpus->gpus.empty()) {
    text += "no GPU: driver " + machine.gpus->driver + " has found none\n";
  } else {
    text += "driver: " + machine.gpus->driver + "\n";
    for (const Gpu& gpu : machine.gpus->gpus) text += line_of(gpu);
  }
  return cut ? text + text_of_cut(machine, *cut) : text;
}

Json json_of(const Machine& machine, const std::optional<Cut>& cut) {
  Json json{{"cpu",
             {{"model", machine.cpu.model},
              {"cores", machine.cpu.cores},
              {"memory_bytes", machine.cpu.memory_bytes},
              {"features", machine.cpu.features}}},
            {"driver", machine.gpus ? Json(machine.gpus->driver) : Json(nullptr)},
            {"gpus", Json::array()},
            {"no_driver", machine.gpus ? Json(nullptr) : Json(machine.without)}};
  if (machine.gpus)
    for (const Gpu& gpu : machine.gpus->gpus) json["gpus"].push_back(json_of(gpu));
  if (!cut) return json;
  json["config"] = cut->file;
  json["devices"] = Json::array();
  std::uint32_t first = 0;
  for (const DeviceConfig& device : cut->worker->devices) {
    const FoundDevice found = found_of(machine, device);
    Json one{{"kind", word_of(device.kind)},
             {"device", device.device.empty() ? Json(nullptr) : Json(device.device)},
             {"first_slot", first},
             {"slots", device.slots},
             {"partition", device.partition},
             {"precision", word_of(device.precision)},
             {"memory_bytes", device.memory_bytes},
             {"isolation", isolation_of(device, found)},
             {"found", device.kind == DeviceKind::cpu || found.gpu != nullptr}};
    json["devices"].push_back(std::move(one));
    first += device.slots;
  }
  json["sandbox"] = cut->sandbox.empty()
                        ? Json(nullptr)
                        : Json{{"found", cut->has_sandbox}, {"text", cut->sandbox}};
  json["problems"] = problems_of(machine, *cut->worker);
  return json;
}

}  // namespace gpupool
