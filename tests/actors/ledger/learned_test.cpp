// What past runs say about the next one: likely durations, advice, and what is held at first.
#include "actors/learned.h"

#include <catch2/catch.hpp>

using namespace gpupool;

namespace {

const AccountId ada{"user:ada"};
const AccountId bob{"user:bob"};

// `count` runs of everybody that took 1, 2, 3, ... hundredths of a second.
void note_many(LearnedDurations& learned, int count, const AccountId& account = bob) {
  for (int i = 1; i <= count; ++i) learned.note(account, "draw", milliseconds(i * 10));
}

}  // namespace

TEST_CASE("A likely duration is the mean of the account's last two runs, else the app's median") {
  LearnedDurations learned;
  CHECK_FALSE(learned.likely(ada, "draw"));
  learned.note(ada, "draw", seconds(100));
  CHECK(learned.likely(ada, "draw") == seconds(100));
  learned.note(ada, "draw", seconds(10));
  learned.note(ada, "draw", seconds(20));
  CHECK(learned.likely(ada, "draw") == seconds(15));
  CHECK(learned.likely(bob, "draw") == seconds(20));
  CHECK_FALSE(learned.likely(ada, "paint"));
}

TEST_CASE("A long run is what nine of ten do not exceed") {
  LearnedDurations learned;
  CHECK_FALSE(learned.long_run("draw"));
  note_many(learned, 100);
  CHECK(learned.long_run("draw") == milliseconds(900));
}

TEST_CASE(
    "A run that is on for longer than is likely counts as a long one, then as all it declared") {
  using Runs = LearnedDurations::Runs;
  LearnedDurations learned;
  const auto foreseen = [&](Duration elapsed, Runs runs, Duration declared = seconds(60)) {
    return learned.foreseen(
        ada, "draw", {.declared = declared, .unknown = seconds(30), .elapsed = elapsed}, runs);
  };
  CHECK(foreseen({}, Runs::likely) == seconds(30));
  CHECK(foreseen(seconds(31), Runs::likely) == seconds(60));
  note_many(learned, 100);  // 0.5 s as a rule, 0.9 s at most nine times in ten
  CHECK(foreseen({}, Runs::likely) == milliseconds(500));
  CHECK(foreseen({}, Runs::long_ones) == milliseconds(900));
  CHECK(foreseen(milliseconds(500), Runs::likely) == milliseconds(900));
  CHECK(foreseen(milliseconds(900), Runs::likely) == seconds(60));
  CHECK(foreseen(milliseconds(900), Runs::long_ones) == seconds(60));
  CHECK(foreseen({}, Runs::likely, milliseconds(200)) == milliseconds(200));  // never more
}

TEST_CASE("Of an app the last 200 runs count, and of accounts the latest are remembered") {
  LearnedDurations learned({.apps_max = 2, .pairs_max = 2});
  for (int i = 0; i < 200; ++i) learned.note(ada, "draw", seconds(1));
  for (int i = 0; i < 200; ++i) learned.note(bob, "draw", seconds(9));
  CHECK(learned.likely({"user:new"}, "draw") == seconds(9));
  learned.note({"user:third"}, "draw", seconds(9));
  CHECK(learned.likely(ada, "draw") == seconds(9));  // forgotten: as anybody
  CHECK(learned.likely(bob, "draw") == seconds(9));
  learned.note(bob, "paint", seconds(1));
  learned.note(bob, "sing", seconds(1));
  CHECK_FALSE(learned.long_run("draw"));  // the app that was used longest ago
  CHECK(learned.long_run("paint"));
}

TEST_CASE("What is held at first is what 99 of 100 runs took and a quarter, in whole seconds") {
  LearnedDurations learned;
  for (int i = 0; i < 9; ++i) learned.note(bob, "draw", seconds(8));
  CHECK(learned.first_held("draw", seconds(60)) == seconds(60));  // too few to say
  for (int i = 0; i < 90; ++i) learned.note(bob, "draw", seconds(20));
  CHECK(learned.first_held("draw", seconds(60)) == seconds(25));
  for (int i = 0; i < 3; ++i) learned.note(bob, "draw", seconds(200));
  CHECK(learned.first_held("draw", seconds(60)) == seconds(250));
}

TEST_CASE("At least 3 s are held beyond what the runs took, so that an extension has its time") {
  LearnedDurations learned;
  for (int i = 0; i < 20; ++i) learned.note(bob, "draw", milliseconds(400));
  CHECK(learned.first_held("draw", seconds(60)) == seconds(4));
}

TEST_CASE("Advice is of one's own runs once there are three, else of everybody's once ten") {
  LearnedDurations learned;
  CHECK(learned.advice(ada, "draw").app.empty());
  note_many(learned, 9);
  CHECK(learned.advice(ada, "draw").app.empty());
  note_many(learned, 91);
  const Advice of_all = learned.advice(ada, "draw");
  CHECK(of_all.app == "draw");
  CHECK_FALSE(of_all.own);
  CHECK(of_all.runs == 100);
  CHECK(of_all.longest == milliseconds(900));
  learned.note(ada, "draw", seconds(2));
  learned.note(ada, "draw", milliseconds(7'900));
  learned.note(ada, "draw", seconds(3));
  const Advice own = learned.advice(ada, "draw");
  CHECK(own.own);
  CHECK(own.runs == 3);
  CHECK(own.longest == milliseconds(7'900));
  CHECK(own.declare == seconds(10));
}

TEST_CASE("Own runs are the last twenty, and without an app the one used last is meant") {
  LearnedDurations learned;
  learned.note(ada, "draw", seconds(100));
  for (int i = 0; i < 20; ++i) learned.note(ada, "draw", seconds(4));
  for (int i = 0; i < 5; ++i) learned.note(ada, "paint", seconds(1));
  CHECK(learned.advice(ada, "draw").longest == seconds(4));
  CHECK(learned.advice(ada, "draw").runs == 20);
  CHECK(learned.advice(ada, "").app == "paint");
  CHECK(learned.advice(bob, "").app.empty());
}

TEST_CASE("A run of no time at all teaches nothing") {
  LearnedDurations learned;
  learned.note(ada, "draw", {});
  CHECK_FALSE(learned.likely(ada, "draw"));
  CHECK(learned.rows().empty());
}

TEST_CASE("What was learned is the same when it is restored from its rows, or copied") {
  LearnedDurations learned({.apps_max = 3, .pairs_max = 4});
  note_many(learned, 250);
  for (int i = 0; i < 47; ++i)
    learned.note({"user:u" + std::to_string(i % 6)}, i % 3 == 0 ? "paint" : "draw", seconds(i + 1));
  LearnedDurations restored({.apps_max = 3, .pairs_max = 4});
  for (const LearnedRuns& row : learned.rows()) restored.restore(row);
  LearnedDurations copy = restored;
  for (LearnedDurations* one : {&learned, &restored, &copy}) {
    one->note({"user:late"}, "draw", seconds(3));
    one->note({"user:u5"}, "paint", seconds(2));
  }
  const auto texts = [](const LearnedDurations& one) {
    std::vector<std::tuple<std::string, std::string, std::vector<std::uint32_t>>> texts;
    for (const LearnedRuns& row : one.rows()) texts.emplace_back(row.account, row.app, row.runs);
    return texts;
  };
  CHECK(texts(learned) == texts(restored));
  CHECK(texts(learned) == texts(copy));
  CHECK(learned.first_held("draw", {}) == copy.first_held("draw", {}));
}
