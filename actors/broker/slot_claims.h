#pragma once
// What a worker says of its slots, before the broker believes any of it: reports that contradict
// themselves, each other or what the node joined with are refused whole. Pure functions.

#include <string>
#include <vector>

#include "actors/broker/placement.h"
#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

// No slot twice, each in a state that there is, with a job exactly where that state has one, and in
// words of bounded length. Errors: forbidden, with the slot and what is wrong with it.
Status check_claims(const std::vector<SlotReport>& reports);
// Likewise, and only of slots that this node joined with, in the same partitions.
Status check_claims(const std::vector<SlotReport>& reports, const Node& node);

// A node's name and its devices, as people read them.
bool is_told_well(const std::string& name, const std::vector<std::string>& devices);

}  // namespace gpupool
