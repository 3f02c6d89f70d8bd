// What a worker makes of its devices' health: a slot whose device is not well takes no jobs.
#include "actors/worker/worker.h"

namespace gpupool {

void Worker::on(Instant now, const DeviceHealth& seen, Effects& out) {
  const auto watch = watches_.find(seen.device);
  if (watch == watches_.end()) return;
  watch->second.see(now, seen);
  heed(now, seen.device, out);
}

// What runs goes on, unless the device is gone: then it can't.
void Worker::heed(Instant now, std::uint32_t device, Effects& out) {
  const DeviceWatch& watch = watches_.at(device);
  const std::string why = watch.why(now);
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.device() != device) continue;
    SlotActions actions;
    slot.take_out(now, why, actions);
    if (watch.is_lost()) slot.fail(now, {.code = Errc::device_failed, .detail = why}, actions);
    carry_out(now, {i}, std::move(actions), out);
  }
}

void Worker::on(Instant now, const ResumeSlots& resume, Effects& out) {
  if (resume.epoch < epoch_) return;
  for (auto& [device, watch] : watches_) watch.resume();
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    slots_[i].resume(now);
    note({i});
  }
  for (const auto& [device, watch] : watches_) heed(now, device, out);
}

void Worker::tell_if_changed(SlotIndex slot, Effects& out) {
  const std::string& why = slots_[slot.value].why();
  if (told_why_[slot.value] == why) return;
  told_why_[slot.value] = why;
  out.to(to_broker(), ToBroker{SlotChanged{
                          .node = node_, .name = config_.worker.name, .slot = slot, .why = why}});
}

}  // namespace gpupool
