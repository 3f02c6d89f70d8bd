#include "cli/notify.h"

#include <systemd/sd-daemon.h>

#include <algorithm>

namespace gpupool {

void notify_ready(const std::string& status) {
  sd_notify(0, ("READY=1\nSTATUS=" + status + "\n").c_str());
}

void notify_status(const std::string& status) { sd_notify(0, ("STATUS=" + status + "\n").c_str()); }

void notify_reloading() { sd_notify(0, "RELOADING=1\nSTATUS=reading the configuration again\n"); }

void notify_stopping(Duration limit) {
  // A few seconds more than the limit: for the journal to close and the children to die.
  const std::string limit_us = std::to_string((limit + seconds(10)).ms * 1000);
  sd_notify(
      0, ("STOPPING=1\nSTATUS=letting the running jobs end\nEXTEND_TIMEOUT_USEC=" + limit_us + "\n")
             .c_str());
}

void notify_alive() { sd_notify(0, "WATCHDOG=1\n"); }

std::optional<Duration> watchdog_interval() {
  std::uint64_t limit_us = 0;
  if (sd_watchdog_enabled(0, &limit_us) <= 0) return {};
  return Duration{std::max<std::int64_t>(1, static_cast<std::int64_t>(limit_us / 2000))};
}

}  // namespace gpupool
