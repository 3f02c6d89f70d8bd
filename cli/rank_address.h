#pragma once
// Where a rank listens for those on other nodes: the address of this machine by which it reaches
// its broker, since that is where the other nodes are reached too. Looked up anew for every run, so
// that it is right after a network came late or changed. Any thread; sends nothing.

#include <string>
#include <string_view>

namespace gpupool {

// Towards the first of some "HOST:PORT", with commas between them, that there is a way to; the
// loopback if there is none.
std::string address_towards(std::string_view peers);

// The network interface that has this address, "eth0"; empty: none does.
std::string interface_of(std::string_view address);

}  // namespace gpupool
