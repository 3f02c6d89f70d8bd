#pragma once
// The contract of every journal, as test cases. Who includes this has defined `JournalPlaces`, a
// std::tuple of kinds of journals, each a type with open() and with reopen(), which finds the
// journal again after its process has ended.

#include "tests/actors/ledger/journal_records.h"

TEMPLATE_LIST_TEST_CASE("A journal gives back every record, in order and unchanged", "",
                        JournalPlaces) {
  TestType place;
  Journal& journal = place.open();
  CHECK(replayed(journal).empty());
  CHECK(journal.tail()->sequence == 0);
  REQUIRE(journal.append(records_from(1, 3), stamp));
  REQUIRE(journal.append(records_from(4, 20), {.wall = noon, .boot = {9}, .boot_id = "boot-2"}));
  CHECK(bytes_of(replayed(journal)) == bytes_of(records_from(1, 23)));

  Journal& again = place.reopen();
  CHECK(bytes_of(replayed(again)) == bytes_of(records_from(1, 23)));
  const JournalTail tail = *again.tail();
  CHECK(tail.sequence == 23);
  CHECK(tail.at == noon + milliseconds(23));
  CHECK(tail.stamp.boot == Instant{9});
  CHECK(tail.stamp.boot_id == "boot-2");
  REQUIRE(again.append(records_from(24, 1), stamp));
  CHECK(replayed(again).size() == 24);
}

TEMPLATE_LIST_TEST_CASE("A journal refuses a gap, a repeat and time that goes back", "",
                        JournalPlaces) {
  TestType place;
  Journal& journal = place.open();
  CHECK(journal.append(records_from(2, 1), stamp).error().code == Errc::journal_refused);
  REQUIRE(journal.append(records_from(1, 2), stamp));
  CHECK(journal.append(records_from(2, 1), stamp).error().code == Errc::journal_refused);
  CHECK(journal.append(records_from(4, 1), stamp).error().code == Errc::journal_refused);
  std::vector<Record> inner_gap = records_from(3, 3);
  inner_gap.erase(inner_gap.begin() + 1);
  CHECK(journal.append(inner_gap, stamp).error().code == Errc::journal_refused);
  std::vector<Record> back = records_from(3, 2);
  back[1].at = noon;
  CHECK(journal.append(back, stamp).error().code == Errc::journal_refused);
  CHECK(bytes_of(replayed(place.reopen())) == bytes_of(records_from(1, 2)));
}

TEMPLATE_LIST_TEST_CASE("An empty batch changes nothing", "", JournalPlaces) {
  TestType place;
  Journal& journal = place.open();
  REQUIRE(journal.append({}, stamp));
  CHECK(journal.tail()->sequence == 0);
}

TEMPLATE_LIST_TEST_CASE("A replay ends with the visitor's error", "", JournalPlaces) {
  TestType place;
  Journal& journal = place.open();
  REQUIRE(journal.append(records_from(1, 5), stamp));
  std::size_t seen = 0;
  const auto done = journal.replay([&seen](const Record&) -> Status {
    if (++seen == 3) return Error{.code = Errc::unsupported};
    return ok();
  });
  CHECK(done.error().code == Errc::unsupported);
  CHECK(seen == 3);
}

TEMPLATE_LIST_TEST_CASE("Bytes that are no text survive a journal", "", JournalPlaces) {
  TestType place;
  Journal& journal = place.open();
  std::string words("a\0b\xff\xc3", 5);
  const std::vector<Record> batch{
      {.sequence = 1, .at = noon, .body = PromiseRestated{.job = {1}, .reason = words}}};
  REQUIRE(journal.append(batch, {.boot_id = words}));
  Journal& again = place.reopen();
  CHECK(bytes_of(replayed(again)) == bytes_of(batch));
  CHECK(again.tail()->stamp.boot_id == words);
}
