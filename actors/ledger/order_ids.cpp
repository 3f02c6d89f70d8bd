#include "actors/ledger/order_ids.h"

#include "base/pack.h"
#include "config/limits.h"

namespace gpupool {

std::optional<Error> id_out_of_range(Instant now, RequestId id) {
  const std::int64_t age = now.ms - id.unix_ms();
  if (age > limits::id_age_ms_max)
    return Error{.code = Errc::id_expired, .want = age, .have = limits::id_age_ms_max};
  if (age < -limits::id_future_ms_max)
    return Error{.code = Errc::id_expired,
                 .want = age,
                 .have = -limits::id_future_ms_max,
                 .detail = "the id was made in the future; is the client's clock right?"};
  return std::nullopt;
}

Result<std::optional<std::vector<Change>>> OrderIds::find(Instant now, RequestId id,
                                                          std::uint64_t body_hash) const {
  if (auto expired = id_out_of_range(now, id)) {
    if (expired->detail.empty())
      expired->detail =
          "an order's id is good for 48 hours; `gpupool changes` tells whether it "
          "was carried out";
    return *std::move(expired);
  }
  if (const Answer* known = answers_.find(id)) {
    if (known->body_hash == body_hash) return std::optional{known->changes};
    return Error{.code = Errc::id_reused,
                 .detail = "this id was used for another order; leave --id out to give a new one"};
  }
  // In a full table, the one that the next record would forget makes room.
  const bool is_full =
      std::cmp_greater_equal(answers_.size(), most_) &&
      !(answers_.begin() != answers_.end() && id_out_of_range(now, answers_.begin()->first));
  if (is_full)
    return Error{.code = Errc::overloaded,
                 .want = most_ + 1,
                 .have = most_,
                 .detail = std::to_string(most_) +
                           " grants and adjustments are remembered, which is the most; each is "
                           "forgotten after 48 hours"};
  return std::optional<std::vector<Change>>{};
}

void OrderIds::remember(RequestId id, std::uint64_t body_hash, const std::vector<Change>& changes) {
  answers_.change(id) = {.body_hash = body_hash, .changes = changes};
}

void OrderIds::pass(Instant at) {
  while (answers_.begin() != answers_.end() &&
         at.ms - answers_.begin()->first.unix_ms() > limits::id_age_ms_max)
    answers_.remove(RequestId{answers_.begin()->first});
}

void OrderIds::write_state(RowWriter& out) const {
  out.put(static_cast<std::uint64_t>(answers_.size()));
  for (const auto& [id, answer] : answers_) {
    out.put(id);
    out.put(answer);
  }
}

bool OrderIds::read_state(RowReader& in) {
  std::uint64_t count = 0;
  bool is_good = in.take(count);
  for (std::uint64_t i = 0; is_good && i < count; ++i) {
    RequestId id;
    is_good = in.take(id) && in.take(answers_.change(id));
  }
  return is_good;
}

void OrderIds::mix_into(std::uint64_t& digest) const {
  for (const auto& [id, answer] : answers_)
    digest = hash_of(std::to_string(digest) + pack(id) + pack(answer));
}

}  // namespace gpupool
