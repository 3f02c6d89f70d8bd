#pragma once
// How the machines of a pool reach each other, in a configuration: [cluster], and the addresses
// that broker and workers dial. For config/load.cpp alone.

#include <string>
#include <string_view>

#include "config/config.h"
#include "config/section.h"

namespace gpupool {

void read_cluster(Section section, Config& config);

// Says so if this address can be reached from other machines, and [cluster] names no certificates.
void reject_open_address(Section& section, std::string_view key, const std::string& address,
                         const ClusterConfig& cluster);

void read_broker_addresses(Section& section, Config& config);

}  // namespace gpupool
