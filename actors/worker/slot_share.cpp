#include "actors/worker/slot_share.h"

#include <algorithm>

namespace gpupool {
namespace {

std::vector<std::uint32_t> part_of(const std::vector<std::uint32_t>& cores, std::uint32_t part,
                                   std::uint32_t parts) {
  const auto each = static_cast<std::ptrdiff_t>(cores.size() / parts);
  const auto begin = cores.begin() + static_cast<std::ptrdiff_t>(part) * each;
  return {begin, begin + each};
}

std::string text_of(const std::vector<std::uint32_t>& cores) {
  std::string text;
  for (const std::uint32_t core : cores) text += (text.empty() ? "" : ",") + std::to_string(core);
  return text;
}

SlotShare share_of(const DeviceConfig& device, std::uint32_t slot) {
  SlotShare share{.kind = device.kind};
  if (device.kind == DeviceKind::cuda) {
    // CUDA counts only what it sees, by PCI bus as the driver's own tools do.
    share.environment = {"CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=" + device.device};
    share.arguments = {"--device", "cuda:" + device.device};
    share.device = device.device;
  } else {
    share.threads = std::max(device.threads / device.slots, 1U);
    share.cores = part_of(device.cores, slot, device.slots);
    share.arguments = {"--threads", std::to_string(share.threads)};
    if (!share.cores.empty())
      share.arguments.insert(share.arguments.end(), {"--cores", text_of(share.cores)});
  }
  if (device.precision != Precision::f32)
    share.arguments.insert(share.arguments.end(),
                           {"--precision", std::string(word_of(device.precision))});
  return share;
}

}  // namespace

std::vector<SlotShare> shares_of(const WorkerConfig& worker) {
  std::vector<SlotShare> shares;
  for (const DeviceConfig& device : worker.devices)
    for (std::uint32_t slot = 0; slot < device.slots; ++slot)
      shares.push_back(share_of(device, slot));
  return shares;
}

// A broker in this process tells other nodes where to find it: ranks are reached there too, unless
// that is every address of this machine.
std::vector<std::string> rank_arguments(const Config& config, const AppConfig& app) {
  if (app.spread != Spread::nodes) return {};
  const WorkerConfig& worker = config.worker;
  if (!worker.rank_address.empty()) return {"--rank-address", worker.rank_address};
  std::string brokers;
  for (const std::string& address : worker.broker_addresses)
    brokers += (brokers.empty() ? "" : ",") + address;
  if (!brokers.empty()) return {"--rank-route", brokers};
  const auto own = parse_address(config.broker.worker_address);
  if (!config.broker_role || !own || own->host == "*" || own->host == "0.0.0.0" ||
      own->host == "::")
    return {};
  return {"--rank-address", own->host};
}

}  // namespace gpupool
