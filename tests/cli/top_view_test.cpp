// The operator's screen: what fits, what is where, and whose row it is.
#include "cli/top_view.h"

#include <catch2/catch.hpp>

using namespace gpupool;

namespace {

constexpr Instant noon{1'795'348'800'000};  // 2026-11-22T12:00:00Z

SlotView busy(std::uint32_t slot, std::uint64_t job, const std::string& account, Duration left) {
  return {.slot = {slot},
          .state = SlotState::running,
          .job = JobId{job},
          .account = {account},
          .app = "emoji",
          .ends_by = noon + left,
          .since = noon - seconds(30)};
}

Overview pool() {
  Overview overview{.at = noon, .started_at = noon - hours(2)};
  overview.nodes = {{.name = "node-1",
                     .state = NodeState::healthy,
                     .seen = noon,
                     .slots = {busy(0, 11, "user:ada", seconds(90)),
                               {.slot = {1}, .state = SlotState::free, .warm_app = "emoji"}},
                     .devices = {"cpu, 2 threads"}},
                    {.name = "node-2",
                     .state = NodeState::draining,
                     .seen = noon,
                     .slots = {busy(0, 12, "user:bob", seconds(5)),
                               {.slot = {1}, .state = SlotState::down, .why = "too hot"}}}};
  overview.queue = {{.job = JobId{13},
                     .account = {"user:eve"},
                     .app = "emoji",
                     .size = "large",
                     .state = JobState::queued,
                     .position = 1,
                     .admitted_at = noon - seconds(4),
                     .promise = noon + seconds(300),
                     .likely_start = noon + seconds(12)}};
  overview.waiting = 1;
  overview.pulse = {.slots_free = 1, .slots_busy = 2, .slots_down = 1, .healthy = 1, .draining = 1};
  overview.refused_minute = {{Errc::quota_exceeded, 3}};
  overview.commits_per_minute = 75;
  return overview;
}

std::string screen(std::size_t rows, std::int32_t columns, const TopState& state = {},
                   const Overview& overview = pool()) {
  std::string text;
  for (const TopLine& line :
       top_lines({.columns = columns, .unicode = true}, rows, "lab", overview, noon, state))
    text += line.text + "\n";
  return text;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("The screen has exactly its rows, none wider than it, whatever its size") {
  for (const std::int32_t columns : {20, 40, 80, 132, 250})
    for (const std::size_t rows : {1U, 3U, 10U, 24U, 60U}) {
      const auto lines =
          top_lines({.columns = columns, .unicode = true}, rows, "lab", pool(), noon, {});
      CHECK(lines.size() == rows);
      for (const TopLine& line : lines)
        CHECK(width_of(line.text) <= static_cast<std::size_t>(columns));
    }
}

TEST_CASE("At 80 x 24 it says who runs what, for how long, until when, and who waits") {
  const std::string text = screen(24, 80);
  CHECK(has(text, "pool lab"));
  CHECK(has(text, "slots 2 busy of 4, 1 down"));
  CHECK(has(text, "nodes 1 healthy, 1 draining"));
  CHECK(has(text, "queue 1 waiting"));
  CHECK(has(text, "commits 1.2/s"));
  CHECK(has(text, "refused in the last minute: quota_exceeded 3"));
  CHECK(has(text, "user:ada"));
  CHECK(has(text, "30 s"));
  CHECK(has(text, "1:30"));
  CHECK(has(text, "too hot"));
  CHECK(has(text, "user:eve"));
  CHECK(has(text, "12 s"));
  CHECK(has(text, "5:00"));
  CHECK(has(text, "q end"));
}

TEST_CASE("A wide screen has a bar from a run's begin to its deadline") {
  const std::string text = screen(24, 120);
  CHECK(has(text, "█"));
  CHECK(has(text, "░"));
  const auto plain = top_lines({.columns = 120}, 24, "lab", pool(), noon, {});
  CHECK(has(plain[4].text, "#"));
  CHECK(has(plain[4].text, "-"));
}

TEST_CASE("The row under the cursor is a slot's job and node, or a job of the queue") {
  TopState state;
  CHECK(top_size(pool(), state) == 4);
  CHECK(top_row(pool(), state).job == JobId{11});
  state.cursor = 1;
  CHECK(top_row(pool(), state).node == "node-1");
  CHECK_FALSE(top_row(pool(), state).job);
  state.cursor = 99;  // the list was longer before
  CHECK(top_row(pool(), state).node == "node-2");
  state.list = TopList::queue;
  CHECK(top_row(pool(), state).job == JobId{13});
  state.list = TopList::nodes;
  state.cursor = 1;
  CHECK(top_row(pool(), state).node == "node-2");
  CHECK(top_row({}, state).node.empty());
}

TEST_CASE("Sorting by time puts what ends first on top, by account what is one's together") {
  TopState state{.order = TopOrder::time};
  CHECK(top_row(pool(), state).job == JobId{12});
  state.order = TopOrder::account;
  CHECK(top_row(pool(), state).job == JobId{11});
}

TEST_CASE("A filter leaves the rows with its text, and none is no error") {
  TopState state{.filter = "bob"};
  CHECK(top_size(pool(), state) == 1);
  CHECK(top_row(pool(), state).job == JobId{12});
  CHECK_FALSE(has(screen(24, 80, state), "user:ada"));
  state.filter = "nobody";
  CHECK(top_size(pool(), state) == 0);
  CHECK(has(screen(24, 80, state), "(none)"));
}

TEST_CASE("A lost pool is said at the top, over what was seen last") {
  const std::string text = screen(24, 80, {.link = "no pool answers"});
  CHECK(has(text, "no pool answers"));
  CHECK(has(text, "user:ada"));
}

TEST_CASE("A pool that misses two answers is not called live, and its clock stands") {
  const Duration interval = seconds(2);
  const TopLink fresh = top_link({.age = seconds(5), .interval = interval}, "");
  CHECK(fresh.link.empty());
  CHECK(fresh.ran_on == seconds(5));
  const TopLink silent = top_link({.age = Duration{9'900}, .interval = interval}, "");
  CHECK(silent.link == "no answer for 9 s");
  CHECK(silent.ran_on == seconds(5));
  CHECK(top_link({.age = Duration{5'001}, .interval = interval}, "").link == "no answer for 5 s");
  const TopLink lost = top_link({.age = seconds(60), .interval = interval}, "no pool answers");
  CHECK(lost.link == "no pool answers");
  CHECK(lost.ran_on == seconds(5));
  CHECK(has(screen(24, 80, {.link = silent.link}), "no answer for 9 s"));
  CHECK_FALSE(has(screen(24, 80, {.link = silent.link}), "live"));
}

TEST_CASE("The cursor's row stays on the screen in a long list") {
  Overview overview = pool();
  for (std::uint32_t i = 0; i < 100; ++i)
    overview.nodes[0].slots.push_back(
        busy(i + 2, 100 + i, "user:u" + std::to_string(i), seconds(9)));
  TopState state{.cursor = 90};
  const auto lines = top_lines({.columns = 80}, 24, "lab", overview, noon, state);
  std::size_t reversed = 0;
  for (const TopLine& line : lines)
    if (line.reverse) {
      ++reversed;
      CHECK(has(line.text, std::to_string(top_row(overview, state).job.value)));
    }
  CHECK(reversed == 1);
}

TEST_CASE("Names and announcements can't steer the terminal") {
  Overview overview = pool();
  overview.announcement = "\x1b[2Jgone";
  overview.nodes[0].slots[0].account = {"user:\x1b]0;evil\x07"};
  CHECK_FALSE(has(screen(24, 80, {}, overview), "\x1b"));
}

TEST_CASE("A page of text stands instead of the lists and can be scrolled") {
  TopState state{.page = {"one", "two", "three"}};
  CHECK(has(screen(24, 80, state), "one"));
  CHECK(top_size(pool(), state) == 3);
  state.cursor = 2;
  CHECK_FALSE(has(screen(24, 80, state), "two"));
  CHECK(has(screen(24, 80, state), "three"));
}
