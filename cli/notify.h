#pragma once
// What the daemon tells systemd, if systemd started it (Type=notify): that it is ready, reloads,
// ends, and is alive. Without NOTIFY_SOCKET every call does nothing. Thread-safe.

#include <optional>
#include <string>

#include "base/time.h"

namespace gpupool {

void notify_ready(const std::string& status);
void notify_status(const std::string& status);
void notify_reloading();
// It ends within `limit`: systemd waits that much longer before it kills.
void notify_stopping(Duration limit);
void notify_alive();

// How often systemd wants to hear notify_alive(), if it does: half of its limit.
std::optional<Duration> watchdog_interval();

}  // namespace gpupool
