#pragma once
// [[worker.devices]]: what a node lends, read and checked entry by entry. A key that means nothing
// for a device of its kind is an error, as is a GPU or a core that two devices name. Pure but for
// the findings; for config/load.cpp.

#include <vector>

#include "config/config.h"
#include "config/section.h"

namespace gpupool {

// `before`: the devices that stand above this one.
DeviceConfig read_device(Section& section, const std::vector<DeviceConfig>& before);

// What an app's executor takes has to fit into every slot that the app may run on.
void check_memory(Section& section, const std::vector<DeviceConfig>& devices, const AppConfig& app);

// "GPU-" or "MIG-" and a UUID, as nvidia-smi -L prints them.
bool is_gpu_uuid(std::string_view text);
bool is_mig_uuid(std::string_view text);

}  // namespace gpupool
