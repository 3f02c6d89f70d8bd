#pragma once
// `gpupoold devices`: what this machine could lend, CPU and GPUs, and how a configuration cuts it
// into slots, with the isolation that each has. Reads and changes nothing; needs no running pool.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "actors/worker/device_list.h"
#include "config/config.h"
#include "net/json_output.h"

namespace gpupool {

struct CpuFacts {
  std::string model;
  std::uint32_t cores = 0;            // that this process may use
  std::vector<std::string> features;  // of those that the engine's arithmetic cares for
  std::int64_t memory_bytes = 0;
};

// What /proc/cpuinfo and /proc/meminfo say.
struct CpuTexts {
  std::string cpuinfo;
  std::string meminfo;
};
CpuFacts facts_of(const CpuTexts& texts, std::uint32_t cores);

struct Machine {
  CpuFacts cpu;
  std::optional<GpuList> gpus;  // empty: there is no driver to ask,
  std::string without;          // for this reason
};

Machine look_around();

// With `file`, the configuration's name, also how it cuts the machine.
struct Cut {
  std::string file;
  const WorkerConfig* worker = nullptr;
  // Of a configuration with apps that run commands: whether they get their sandbox here.
  std::string sandbox{};  // empty: no app wants one
  bool has_sandbox = true;
};
std::string text_of(const Machine& machine, const std::optional<Cut>& cut);
Json json_of(const Machine& machine, const std::optional<Cut>& cut);
// What the configuration asks for and this machine does not have.
std::vector<std::string> problems_of(const Machine& machine, const WorkerConfig& worker);

}  // namespace gpupool
