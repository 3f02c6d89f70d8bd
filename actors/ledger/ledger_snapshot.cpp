// The state as rows, and from rows. What one writes the other reads, in the same order; refusals
// and shapes are not state.

#include "actors/ledger/ledger.h"
#include "actors/ledger/snapshot.h"

namespace gpupool {

void Ledger::write_state(RowWriter& out) const {
  out.put(core_);
  out.put(static_cast<std::uint64_t>(accounts_.size()));
  accounts_.each([&out](const AccountRow& row) { out.put(row); });
  out.put(static_cast<std::uint64_t>(open_.size()));
  open_.each([&out](const OpenJob& job) { out.put(job); });
  const auto requests = requests_.in_order();
  out.put(static_cast<std::uint64_t>(requests.size()));
  for (const RememberedRequest& request : requests) out.put(request);
  out.put(static_cast<std::uint64_t>(anonymous_.size()));
  for (const auto& [key, nothing] : anonymous_) {
    out.put(key.first);
    out.put(key.second);
  }
  orders_.write_state(out);
  order_ids_.write_state(out);
  const auto learned = learned_.rows();
  out.put(static_cast<std::uint64_t>(learned.size()));
  for (const LearnedRuns& row : learned) out.put(row);
}

bool Ledger::read_state(RowReader& in) {
  GPUPOOL_ENSURE(core_.sequence == 0, core_.sequence);
  std::uint64_t count = 0;
  const auto each = [&](const auto& take) {
    bool is_good = in.take(count);
    for (std::uint64_t i = 0; is_good && i < count; ++i) is_good = take();
    return is_good;
  };
  const auto take_account = [&] {
    AccountRow row;
    const bool is_good = in.take(row) && accounts_.find(row.id) == RowTable<AccountRow>::none;
    if (is_good) accounts_.insert(std::move(row));
    return is_good;
  };
  const auto take_job = [&] {
    OpenJob job;
    if (!in.take(job)) return false;
    job.account = accounts_.find(job.hold->account);
    const bool is_good =
        job.account != RowTable<AccountRow>::none && open_.get(job.key()) == nullptr;
    if (is_good) open_.insert(std::move(job));
    return is_good;
  };
  const auto take_request = [&] {
    RememberedRequest request;
    const bool is_good = in.take(request) && requests_.find(request.request) == nullptr;
    if (is_good) requests_.restore(request, core_.forgotten_before);
    return is_good;
  };
  const auto take_anonymous = [&] {
    std::pair<Instant, AccountId> key;
    const bool is_good = in.take(key.first) && in.take(key.second);
    if (is_good) anonymous_.change(key);
    return is_good;
  };
  const auto take_learned = [&] {
    LearnedRuns row;
    const bool is_good = in.take(row);
    if (is_good) learned_.restore(row);
    return is_good;
  };
  return in.take(core_) && each(take_account) && each(take_job) && each(take_request) &&
         each(take_anonymous) && orders_.read_state(in) && order_ids_.read_state(in) &&
         each(take_learned) && in.rest().empty();
}

}  // namespace gpupool
