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

TEMPLATE_LIST_TEST_CASE("A large request is there with its hold until the commit that closes it",
                        "", JournalPlaces) {
  TestType place;
  Journal& journal = place.open();
  std::vector<Record> records = records_from(1, 1);
  records.push_back({.sequence = 2, .at = records[0].at, .body = records[0].body});
  std::get<HoldOpened>(records[1].body).hold = Hold{.job = {2}};
  const std::string first(5'000, '\xff');
  std::string second(40'000, '"');
  second[7] = '\0';
  std::get<HoldOpened>(records[0].body).blob = first;
  std::get<HoldOpened>(records[1].body).blob = second;
  REQUIRE(journal.append(records, stamp));
  CHECK(*journal.blob({1}) == first);
  CHECK(*journal.blob({2}) == second);
  CHECK(journal.blob({3})->empty());

  Journal& again = place.reopen();
  CHECK(*again.blob({1}) == first);
  const Record settled{
      .sequence = 3, .at = records[0].at, .body = HoldSettled{.job = {1}, .has_blob = true}};
  REQUIRE(again.append({&settled, 1}, stamp));
  CHECK(again.blob({1})->empty());
  CHECK(*again.blob({2}) == second);

  Journal& last = place.reopen();
  CHECK(last.blob({1})->empty());
  CHECK(*last.blob({2}) == second);
  CHECK(replayed(last).size() == 3);
}

TEMPLATE_LIST_TEST_CASE("What is held and closed in one commit leaves no request", "",
                        JournalPlaces) {
  TestType place;
  Journal& journal = place.open();
  std::vector<Record> records = records_from(1, 1);
  std::get<HoldOpened>(records[0].body).blob = std::string(5'000, 'r');
  records.push_back(
      {.sequence = 2, .at = records[0].at, .body = HoldSettled{.job = {1}, .has_blob = true}});
  REQUIRE(journal.append(records, stamp));
  CHECK(journal.blob({1})->empty());
  CHECK(replayed(place.reopen()).size() == 2);
}

TEMPLATE_LIST_TEST_CASE("A batch that does not follow leaves no request either", "",
                        JournalPlaces) {
  TestType place;
  Journal& journal = place.open();
  std::vector<Record> records = records_from(7, 1);
  std::get<HoldOpened>(records[0].body).blob = std::string(5'000, 'r');
  CHECK(journal.append(records, stamp).error().code == Errc::journal_refused);
  CHECK(journal.blob({7})->empty());
}
