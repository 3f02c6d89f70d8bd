#pragma once
// What an operator can do about a daemon that cannot start, or a worker that no broker takes: one
// sentence to follow the error. Pure.

#include <string>

#include "base/result.h"
#include "config/config.h"

namespace gpupool {

// Empty if the error says it all by itself.
std::string advice_for(const Error& error, const Config& config);

// The error and the advice in one line.
std::string cannot_start_text(const Error& error, const Config& config);

// Of a worker whose broker does not take it: what came back, and what to do.
std::string refused_text(const Error& error);
// Of one that reaches none.
std::string unreachable_text(const std::string& address, const Error& error,
                             const ClusterConfig& cluster);

}  // namespace gpupool
