#include "actors/worker/device_watch.h"

#include <algorithm>

namespace gpupool {
namespace {

constexpr std::uint32_t cooler_by = 5;     // below its limit, before it counts as cool again
constexpr std::int64_t looks_missed = 12;  // in a row; one look may take long on a busy driver

}  // namespace

DeviceWatch::DeviceWatch(const WorkerConfig& worker, const DeviceConfig& device)
    : overheat_(worker.overheat),
      silence_(worker.health_interval * looks_missed),
      temperature_max_(device.temperature_max) {}

void DeviceWatch::see(Instant now, const DeviceHealth& seen) {
  last_seen_ = now;
  if (seen.lost) {
    lost_ = seen.detail.empty() ? "the driver says that it is lost" : seen.detail;
    return;
  }
  // The driver counts from 0 again when it is loaded again.
  errors_ = seen.uncorrected_errors;
  errors_accepted_ = std::min(errors_accepted_, errors_);
  temperature_ = seen.temperature;
  if (temperature_ <= temperature_max_) hot_since_ = Instant::never();
  if (temperature_ + cooler_by <= temperature_max_) hot_ = false;
  if (temperature_ <= temperature_max_) return;
  if (hot_since_ == Instant::never()) hot_since_ = now;
  hot_ = hot_ || now - hot_since_ >= overheat_;
}

void DeviceWatch::resume() {
  lost_.clear();
  errors_accepted_ = errors_;
}

std::string DeviceWatch::why(Instant now) const {
  if (is_lost()) return "GPU lost: " + lost_;
  if (errors_ > errors_accepted_)
    return std::to_string(errors_ - errors_accepted_) + " uncorrected memory errors";
  if (hot_)
    return "over " + std::to_string(temperature_max_) + " degrees Celsius for " +
           std::to_string(overheat_.ms / 1000) + " s";
  if (last_seen_ != Instant::never() && now - last_seen_ >= silence_)
    return "its driver has not answered for " + std::to_string(silence_.ms / 1000) + " s";
  return {};
}

}  // namespace gpupool
