// The operator's view, whole: who may have it, and what it costs the broker.
#include <catch2/catch.hpp>

#include "actors/console/console.h"
#include "config/limits.h"

using namespace gpupool;

namespace {

constexpr Instant noon{1'795'348'800'000};  // 2026-11-22T12:00:00Z

struct Desk {
  Config config = default_config();
  Console console{config};
  Instant now = noon;
  std::vector<ToBroker> asked;
  std::vector<OverviewFound> answers;

  Desk() { take(console.start(now)); }

  void tell(const ToConsole& message) { take(console.step(now, message)); }
  void take(const Effects& effects) {
    for (const Send& send : effects.send) {
      if (const auto* broker = std::get_if<ToBroker>(&send.message))
        if (!std::holds_alternative<DrainNodes>(*broker)) asked.push_back(*broker);
      if (const auto* session = std::get_if<ToSession>(&send.message))
        if (const auto* found = std::get_if<OverviewFound>(session)) answers.push_back(*found);
    }
  }
  void look(std::uint64_t query, bool is_operator = true) {
    tell(OverviewQuery{.session = SessionId{7},
                       .query = query,
                       .caller = {.account = {"user:root"}, .is_operator = is_operator}});
  }
  // The broker answers all that it was asked, with so many nodes of 64 slots.
  void answer(std::size_t nodes = 1) {
    for (const ToBroker& one : std::exchange(asked, {})) {
      if (const auto* query = std::get_if<NodesQuery>(&one)) {
        NodesFound found{.ticket = query->ticket, .nodes = {}};
        for (std::size_t i = 0; i < nodes; ++i)
          found.nodes.push_back({.name = "node-" + std::to_string(i),
                                 .state = NodeState::healthy,
                                 .slots = std::vector<SlotView>(64)});
        tell(found);
      }
      if (const auto* query = std::get_if<QueueQuery>(&one))
        tell(QueueFound{.ticket = query->ticket, .jobs = {{.job = JobId{9}}}, .waiting = 1});
    }
  }
};

}  // namespace

TEST_CASE("Only operators see the pool whole") {
  Desk desk;
  desk.look(1, false);
  REQUIRE(desk.answers.size() == 1);
  CHECK(desk.answers[0].error == Errc::forbidden);
  CHECK(desk.answers[0].detail.find("--role operator") != std::string::npos);
  CHECK(desk.asked.empty());
}

TEST_CASE("However many look, the broker is asked once a second") {
  Desk desk;
  desk.look(1);
  desk.look(2);
  CHECK(desk.asked.size() == 2);  // nodes and queue
  desk.answer();
  REQUIRE(desk.answers.size() == 2);
  CHECK(desk.answers[1].query == 2);
  CHECK(desk.answers[1].overview->nodes.size() == 1);
  CHECK(desk.answers[1].overview->queue[0].job == JobId{9});
  desk.look(3);
  CHECK(desk.asked.empty());
  CHECK(desk.answers.size() == 3);
  desk.now = desk.now + seconds(1);
  desk.look(4);
  CHECK(desk.asked.size() == 2);
  CHECK(desk.answers.size() == 3);
}

TEST_CASE("A broker that does not answer is told of in time, and asked again by the next") {
  Desk desk;
  desk.look(1);
  desk.now = desk.now + console_answer_limit;
  desk.tell(Tick{});
  REQUIRE(desk.answers.size() == 1);
  CHECK(desk.answers[0].error == Errc::timed_out);
  desk.asked.clear();
  desk.look(2);
  desk.answer();
  CHECK(desk.answers.back().error == Errc{});
}

TEST_CASE("A view has a bounded number of slots, node by node, and says how many are missing") {
  Desk desk;
  desk.look(1);
  desk.answer(20);
  const Overview& view = *desk.answers.back().overview;
  CHECK(view.nodes.size() * 64 == static_cast<std::size_t>(limits::overview_slots_max));
  CHECK(view.slots_left_out == 20 * 64 - view.nodes.size() * 64);
}

TEST_CASE("A view has the last audit, the announcement and what was refused") {
  Desk desk;
  desk.tell(Standing{.announcement = "maintenance at noon"});
  desk.tell(RefusalNoted{Errc::quota_exceeded});
  desk.tell(Operate{.session = SessionId{7},
                    .query = 1,
                    .caller = {.account = {"user:root"}, .is_operator = true},
                    .words = {"audit"}});
  desk.tell(Audited{.ticket = 3, .findings = {"a difference"}, .sequence = 12});
  desk.look(2);
  desk.answer();
  const Overview& view = *desk.answers.back().overview;
  CHECK(view.announcement == "maintenance at noon");
  REQUIRE(view.refused.size() == 1);
  CHECK(view.refused[0].count == 1);
  CHECK(view.audit.at == noon);
  CHECK(view.audit.who == "operator user:root");
  CHECK(view.audit.findings.size() == 1);
}
