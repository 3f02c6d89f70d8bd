#pragma once
// Settings of the configuration that people's quota and turn depend on, beside tiers, apps and
// windows: sizes, rates, groups, reservations, and who is recognised by what and of which tier. As
// texts that can be compared, so that a change of any of them is on record. Pure.

#include <vector>

#include "actors/messages/console.h"
#include "config/config.h"

namespace gpupool {

// In the configuration's order; two configurations that differ in one of them differ in a text.
std::vector<SettingTerms> settings_of(const Config& config);

}  // namespace gpupool
