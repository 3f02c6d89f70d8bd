#pragma once
// Leadership: whether this process leads, waits or stands down, where several may write one journal
// (design section 5). What they share is one row: an epoch, and a counter that the leader raises
// every second. A standby that has seen the same row for `silence` by its own clock raises the
// epoch, if the row is still that one; the leader stops by its own clock after `sure_for` without
// an answered renewal, so that no two believe to lead at once. Time is an argument; no I/O.

#include <cstdint>
#include <optional>

#include "base/time.h"

namespace gpupool {

struct LeadRow {
  std::uint64_t epoch = 0;    // 0: nobody has ever led
  std::uint64_t renewal = 0;  // only ever grows; raising the epoch counts as one
  bool vacant = false;        // the leader of this epoch has left in good order
  friend bool operator==(const LeadRow&, const LeadRow&) = default;
};

// When a question to the database left, and when its answer was here. What was answered was true at
// some moment between the two.
struct Exchange {
  Instant asked{};
  Instant answered{};
};

struct LeadTerms {
  Duration renew_every = seconds(1);
  Duration look_every = milliseconds(500);
  Duration sure_for = seconds(3);
  Duration silence = seconds(4);
};

class Leadership {
 public:
  enum class Role : std::uint8_t { standby = 1, leader, deposed };
  enum class Advice : std::uint8_t { wait = 1, raise, lead, renew, stand_down };

  explicit Leadership(LeadTerms terms) : terms_(terms) {}

  // A standby has looked: raise the epoch of exactly this row now, or wait and look again.
  Advice saw(const LeadRow& row, Exchange look);
  // The row was this one when the epoch was raised, so this process leads with `epoch`.
  void raised(std::uint64_t epoch, Instant asked);

  // What the leader has to do now. Once it is told to stand down, it never leads again.
  Advice at(Instant now);
  void renewed(Instant asked);
  // A write or a renewal has found another epoch.
  void fenced() { role_ = Role::deposed; }

  Role role() const { return role_; }
  std::uint64_t epoch() const { return epoch_; }
  // Nobody else leads before this moment of this process's clock.
  Instant sure_until() const { return renewed_ + terms_.sure_for; }

 private:
  struct Seen {
    LeadRow row;
    Instant since{};  // its answer was here: the renewal that made it so is older
  };

  LeadTerms terms_;
  Role role_ = Role::standby;
  std::optional<Seen> seen_;
  std::uint64_t epoch_ = 0;
  Instant renewed_{};  // when the last renewal that was answered left
};

}  // namespace gpupool
