// Who leads, by one row and everybody's own clock: each rule by itself, then many processes with
// clocks of their own that are slow, stopped and cut off, of which no two ever believe to lead.

#include "actors/ledger/leadership.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <optional>
#include <vector>

#include "base/prng.h"

using namespace gpupool;
using Verdict = Leadership::Advice;

namespace {

constexpr Instant start{1'000'000};
const LeadTerms terms;

// A look that took no time.
Exchange look_at(Instant at) { return {.asked = at, .answered = at}; }

Leadership leading(Instant asked) {
  Leadership leadership(terms);
  leadership.raised(7, asked);
  return leadership;
}

}  // namespace

TEST_CASE("A journal that nobody leads is taken at the first look") {
  Leadership fresh(terms);
  CHECK(fresh.saw({.epoch = 0, .renewal = 0, .vacant = true}, look_at(start)) == Verdict::raise);
  Leadership after_a_stop(terms);
  CHECK(after_a_stop.saw({.epoch = 9, .renewal = 50, .vacant = true}, look_at(start)) ==
        Verdict::raise);
}

TEST_CASE("A standby raises the epoch after 4 s without a renewal and not before") {
  Leadership standby(terms);
  const LeadRow row{.epoch = 3, .renewal = 20};
  CHECK(standby.saw(row, look_at(start)) == Verdict::wait);
  CHECK(standby.saw(row, look_at(start + milliseconds(3'999))) == Verdict::wait);
  CHECK(standby.saw(row, look_at(start + milliseconds(4'000))) == Verdict::raise);
}

TEST_CASE("Each renewal that a standby sees starts its 4 s anew") {
  Leadership standby(terms);
  for (std::uint64_t renewal = 1; renewal <= 60; ++renewal) {
    const Instant at = start + seconds(3) * static_cast<std::int64_t>(renewal);
    CHECK(standby.saw({.epoch = 3, .renewal = renewal}, look_at(at)) == Verdict::wait);
  }
  const Instant last = start + seconds(180);
  CHECK(standby.saw({.epoch = 4, .renewal = 61}, look_at(last + milliseconds(3'999))) ==
        Verdict::wait);  // another leader counts as one, too
  CHECK(standby.saw({.epoch = 4, .renewal = 61}, look_at(last + milliseconds(7'998))) ==
        Verdict::wait);
  CHECK(standby.saw({.epoch = 4, .renewal = 61}, look_at(last + milliseconds(7'999))) ==
        Verdict::raise);
}

TEST_CASE("The silence counts from an answer to a question, however slow the looks were") {
  Leadership standby(terms);
  const LeadRow row{.epoch = 3, .renewal = 20};
  CHECK(standby.saw(row, {.asked = start, .answered = start + seconds(3)}) == Verdict::wait);
  // The row may have changed until the answer: only a second has certainly passed since.
  CHECK(standby.saw(row, {.asked = start + seconds(4), .answered = start + seconds(20)}) ==
        Verdict::wait);
  CHECK(standby.saw(row, {.asked = start + seconds(7), .answered = start + seconds(7)}) ==
        Verdict::raise);
}

TEST_CASE("A standby that itself stood still raises only what stood still as well") {
  Leadership standby(terms);
  CHECK(standby.saw({.epoch = 3, .renewal = 20}, look_at(start)) == Verdict::wait);
  CHECK(standby.saw({.epoch = 3, .renewal = 3'620}, look_at(start + hours(1))) == Verdict::wait);
}

TEST_CASE("A leader renews every second and stands down 3 s after its last answered renewal") {
  Leadership leader = leading(start);
  CHECK(leader.at(start) == Verdict::lead);
  CHECK(leader.at(start + milliseconds(999)) == Verdict::lead);
  CHECK(leader.at(start + milliseconds(1'000)) == Verdict::renew);
  leader.renewed(start + milliseconds(1'000));
  CHECK(leader.at(start + milliseconds(1'500)) == Verdict::lead);
  CHECK(leader.sure_until() == start + milliseconds(4'000));
  CHECK(leader.at(start + milliseconds(3'999)) == Verdict::renew);
  CHECK(leader.at(start + milliseconds(4'000)) == Verdict::stand_down);
}

TEST_CASE("Who stood down or was fenced never leads again") {
  Leadership late = leading(start);
  CHECK(late.at(start + seconds(3)) == Verdict::stand_down);
  late.renewed(start + seconds(3));
  CHECK(late.at(start + seconds(3)) == Verdict::stand_down);
  CHECK(late.role() == Leadership::Role::deposed);
  Leadership fenced = leading(start);
  fenced.fenced();
  CHECK(fenced.at(start) == Verdict::stand_down);
  CHECK(fenced.saw({.epoch = 8, .renewal = 9, .vacant = true}, look_at(start)) == Verdict::wait);
}

TEST_CASE("A renewal counts from when it left, and an older one moves nothing back") {
  Leadership leader = leading(start);
  leader.renewed(start + seconds(2));
  leader.renewed(start + seconds(1));
  CHECK(leader.sure_until() == start + seconds(5));
}

namespace {

// The one row of the database, as its transactions see it: each is at one moment of true time.
struct Row {
  LeadRow row{.vacant = true};
  bool renew(std::uint64_t epoch) {
    if (row.epoch != epoch) return false;
    ++row.renewal;
    return true;
  }
  bool raise(const LeadRow& seen) {
    if (row != seen) return false;
    row = {.epoch = row.epoch + 1, .renewal = row.renewal + 1};
    return true;
  }
};

// One process: its clock runs up to 10 % fast or slow, it asks one question at a time, the question
// takes effect some time after it was asked and is answered some time later, or never; and now and
// then the process stands still.
class Contender {
 public:
  Contender(Prng rng, Row& row)
      : rng_(rng), row_(row), rate_(900 + static_cast<std::int64_t>(rng_.below(201))) {
    offset_ = static_cast<std::int64_t>(rng_.below(1'000'000));
  }

  bool believes_to_lead(std::int64_t now) {
    return now >= frozen_until_ && leadership_.role() == Leadership::Role::leader &&
           leadership_.at(clock(now)) != Verdict::stand_down;
  }
  std::uint64_t times_led() const { return times_led_; }

  void step(std::int64_t now) {
    if (asked_ && now == takes_effect_at_) take_effect();
    if (now < frozen_until_) return;
    if (rng_.below(4'000) == 0) {
      frozen_until_ = now + static_cast<std::int64_t>(rng_.below(12'000));
      return;
    }
    if (asked_ && now >= answered_at_) hear(now);
    if (!asked_ && now >= next_at_) ask(now);
  }

 private:
  enum class Question : std::uint8_t { look, raise, renew };

  Instant clock(std::int64_t now) const { return {1 + offset_ + now * rate_ / 1'000}; }

  void ask(std::int64_t now) {
    if (leadership_.role() == Leadership::Role::deposed) leadership_ = Leadership(terms);
    const bool leads = leadership_.role() == Leadership::Role::leader;
    if (leads && leadership_.at(clock(now)) != Verdict::renew) return;
    question_ = leads ? Question::renew : raises_ ? Question::raise : Question::look;
    asked_ = clock(now);
    takes_effect_at_ =
        now + 1 + static_cast<std::int64_t>(rng_.below(rng_.below(20) == 0 ? 6'000 : 80));
    answered_at_ = takes_effect_at_ + 1 +
                   static_cast<std::int64_t>(rng_.below(rng_.below(20) == 0 ? 6'000 : 80));
  }

  void take_effect() {
    if (question_ == Question::look) found_ = row_.row;
    if (question_ == Question::raise) went_ = row_.raise(found_);
    if (question_ == Question::renew) went_ = row_.renew(leadership_.epoch());
  }

  void hear(std::int64_t now) {
    const Exchange exchange{.asked = *asked_, .answered = clock(now)};
    asked_.reset();
    raises_ = false;
    next_at_ = now + 100 + static_cast<std::int64_t>(rng_.below(400));
    if (question_ == Question::look) {
      raises_ = leadership_.saw(found_, exchange) == Verdict::raise;
      if (raises_) next_at_ = now;
    } else if (question_ == Question::raise && went_) {
      leadership_.raised(found_.epoch + 1, exchange.asked);
      ++times_led_;
    } else if (question_ == Question::renew) {
      went_ ? leadership_.renewed(exchange.asked) : leadership_.fenced();
    }
  }

  Prng rng_;
  Row& row_;
  const std::int64_t rate_;
  std::int64_t offset_ = 0;
  Leadership leadership_{terms};
  std::uint64_t times_led_ = 0;
  std::int64_t frozen_until_ = 0;
  std::int64_t next_at_ = 0;
  Question question_ = Question::look;
  std::optional<Instant> asked_;
  std::int64_t takes_effect_at_ = 0;
  std::int64_t answered_at_ = 0;
  LeadRow found_;
  bool raises_ = false;
  bool went_ = false;
};

}  // namespace

TEST_CASE("No two of many processes ever believe to lead, and soon one always does") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Prng rng(seed);
    Row row;
    std::vector<Contender> contenders;
    for (int i = 0; i < 3; ++i) contenders.emplace_back(Prng(rng.next()), row);
    std::int64_t leaderless = 0;
    std::int64_t longest = 0;
    bool shared = false;
    for (std::int64_t now = 1; now <= 120'000; ++now) {
      int leaders = 0;
      for (Contender& one : contenders) {
        one.step(now);
        leaders += one.believes_to_lead(now) ? 1 : 0;
      }
      shared = shared || leaders > 1;
      leaderless = leaders == 0 ? leaderless + 1 : 0;
      longest = std::max(longest, leaderless);
    }
    std::uint64_t changes = 0;
    for (const Contender& one : contenders) changes += one.times_led();
    INFO("seed " << seed);
    CHECK_FALSE(shared);
    CHECK(changes > 3);       // the lead has moved
    CHECK(longest < 60'000);  // 4 s, and the stops and slow answers that met
  }
}
