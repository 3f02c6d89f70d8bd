#include "actors/broker/slot_claims.h"

#include <algorithm>

#include "config/limits.h"

namespace gpupool {
namespace {

bool is_state(SlotState state) { return state >= SlotState::free && state <= SlotState::held; }

bool has_job(SlotState state) {
  return state == SlotState::starting || state == SlotState::running || state == SlotState::held;
}

bool fits(const std::string& text, std::int64_t bytes_max) {
  return std::cmp_less_equal(text.size(), bytes_max);
}

// What is wrong with it; empty: nothing.
std::string fault_in(const SlotReport& report) {
  if (!is_state(report.state)) return "is in no state that there is";
  if (bool{report.job} != has_job(report.state))
    return report.job ? "has a job though it runs none" : "runs a job that it does not name";
  if (bool{report.job} != (report.attempt > 0)) return "names a job without an attempt of it";
  if (report.ran < Duration{} || report.held < Duration{}) return "has run for less than nothing";
  if (!fits(report.warm_app, limits::name_bytes_max) ||
      !fits(report.partition, limits::name_bytes_max) || report.partition.empty() ||
      !fits(report.why, limits::slot_words_bytes_max))
    return "has words that are too long";
  return {};
}

Error refused(SlotIndex slot, const std::string& why) {
  return {.code = Errc::forbidden,
          .detail = "slot " + std::to_string(slot.value) + " of its report " + why};
}

}  // namespace

Status check_claims(const std::vector<SlotReport>& reports) {
  std::vector<SlotIndex> seen;
  seen.reserve(reports.size());
  for (const SlotReport& report : reports) {
    if (const std::string fault = fault_in(report); !fault.empty())
      return refused(report.slot, fault);
    seen.push_back(report.slot);
  }
  if (!std::is_sorted(seen.begin(), seen.end())) std::sort(seen.begin(), seen.end());
  const auto twice = std::adjacent_find(seen.begin(), seen.end());
  return twice == seen.end() ? ok() : refused(*twice, "is there twice");
}

Status check_claims(const std::vector<SlotReport>& reports, const Node& node) {
  for (const SlotReport& report : reports) {
    const PoolSlot* slot = node.slot(report.slot);
    if (slot == nullptr) return refused(report.slot, "is none that it joined with");
    if (slot->report.partition != report.partition || slot->report.device != report.device)
      return refused(report.slot, "has moved to another device or partition");
  }
  return check_claims(reports);
}

bool is_told_well(const std::string& name, const std::vector<std::string>& devices) {
  return !name.empty() && fits(name, limits::name_bytes_max) &&
         std::all_of(devices.begin(), devices.end(), [](const std::string& device) {
           return fits(device, limits::name_bytes_max);
         });
}

}  // namespace gpupool
