// Leases of external apps, and what their callers and their processes say on this node.
#include <algorithm>

#include "actors/worker/lease_token.h"
#include "actors/worker/worker.h"

namespace gpupool {
namespace {

constexpr std::size_t released_kept = 1'024;

}  // namespace

void Worker::take_external(Instant now, const Lease& lease, Effects& out) {
  std::vector<std::string> devices{slots_[lease.slot.value].visible()};
  for (const SlotIndex slot : lease.more_slots) {
    const std::string& device = slots_[slot.value].visible();
    if (std::find(devices.begin(), devices.end(), device) == devices.end())
      devices.push_back(device);
  }
  Slot::Admission admission{.token = lease_token(secret_, lease.job, lease.attempt), .devices = {}};
  for (const std::string& device : devices)
    admission.devices += (admission.devices.empty() ? "" : ",") + device;
  SlotActions actions;
  slots_[lease.slot.value].admit(now, lease, std::move(admission), actions);
  carry_out(now, lease.slot, std::move(actions), out);
}

std::optional<SlotIndex> Worker::slot_of(const std::string& token) const {
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot)
    if (slots_[slot].shows(token)) return SlotIndex{slot};
  return std::nullopt;
}

void Worker::on(Instant now, const AllowProcess& allow, Effects& out) {
  LeaseAnswer answer{.query = allow.query, .error = Errc::job_unknown};
  if (const auto slot = slot_of(allow.token)) {
    SlotActions actions;
    answer.error = may_come(allow.process, *slot)
                       ? slots_[slot->value].allow(now, allow.process, actions)
                       : Errc::forbidden;
    carry_out(now, *slot, std::move(actions), out);
  }
  out.to(to_device_api(), ToDeviceApi{answer});
}

// One process is on one slot: a warm one leaves the slot where it waited, one that has a run of
// another lease stays there.
bool Worker::may_come(const LocalProcess& process, SlotIndex to) {
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot)
    if (slot != to.value && !slots_[slot].let_go(process)) return false;
  return true;
}

// The same token again gets the same answer, also when its run has ended in another way meanwhile.
void Worker::on(Instant now, const ReleaseLease& release, Effects& out) {
  LeaseAnswer answer{.query = release.query};
  const auto known = std::find_if(released_.begin(), released_.end(), [&](const auto& one) {
    return is_same_secret(one.first, release.token);
  });
  if (known != released_.end()) {
    answer.unused = known->second;
  } else if (const auto slot = slot_of(release.token)) {
    SlotActions actions;
    answer.unused = slots_[slot->value].release(
                        now, release.failed ? Slot::Verdict::failed : Slot::Verdict::well,
                        actions) == Slot::Released::unused;
    carry_out(now, *slot, std::move(actions), out);
    released_.emplace_back(release.token, answer.unused);
    if (released_.size() > released_kept) released_.pop_front();
  } else {
    answer.error = Errc::job_unknown;
  }
  out.to(to_device_api(), ToDeviceApi{answer});
}

void Worker::on(Instant now, const ProcessGone& gone, Effects& out) { tell_slot(now, gone, out); }

}  // namespace gpupool
