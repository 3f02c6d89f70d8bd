#pragma once
// OrderIds: the ids of what operators ordered once (grants and adjustments), each with its answer,
// so that an order which is sent again is answered again and not carried out twice. A part of the
// ledger's state: bounded, forgotten after 48 h like requests, undone with its batch. What always
// holds: an id that is forgotten is too old to be accepted. Plain value.

#include <optional>

#include "actors/ledger/snapshot.h"
#include "actors/ledger/undo_table.h"
#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

class OrderIds {
 public:
  explicit OrderIds(std::int64_t most) : most_(most) {}

  // The changes that this order made; none: it is new. An Error: id_expired, id_reused, or
  // overloaded (the table is full).
  Result<std::optional<std::vector<Change>>> find(Instant now, RequestId id,
                                                  std::uint64_t body_hash) const;

  void remember(RequestId id, std::uint64_t body_hash, const std::vector<Change>& changes);
  // Time has come to `at`: ids that are refused from now on are forgotten.
  void pass(Instant at);

  void begin_batch() { answers_.begin_batch(); }
  void keep_batch() { answers_.keep_batch(); }
  void undo_batch() { answers_.undo_batch(); }

  // For snapshots, as the ledger's.
  void write_state(RowWriter& out) const;
  bool read_state(RowReader& in);

  std::size_t size() const { return answers_.size(); }
  void mix_into(std::uint64_t& digest) const;

 private:
  struct Answer {
    std::uint64_t body_hash = 0;
    std::vector<Change> changes;
    auto fields() { return std::tie(body_hash, changes); }
  };

  std::int64_t most_;
  UndoTable<RequestId, Answer> answers_;  // in order of the ids' own time
};

// Is this id one that a client can have made just now, or in the last 48 h? Both bounds are legal.
std::optional<Error> id_out_of_range(Instant now, RequestId id);

}  // namespace gpupool
