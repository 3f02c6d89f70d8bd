// What `gpupool audit --ledger` prints, for people and for programs.

#include "cli/audit.h"

#include <catch2/catch.hpp>

using namespace gpupool;

namespace {

AuditReport report() {
  return {.records = 12,
          .first = {1'795'348'800'000},
          .last = {1'795'348'900'000},
          .holds = 3,
          .settled = 2,
          .open = 1,
          .accounts = 1,
          .orders = 2,
          .measured = 2,
          .unmeasured = 1,
          .windowless = 3,
          .digest = 0xabc,
          .rebuilt = true};
}

std::string note(const std::string& record, char digit, std::size_t digits) {
  std::string text = record;
  text.push_back(':');
  text.append(digits, digit);
  return text;
}

bool contains(const std::string& text, const std::string& words) {
  INFO(text);
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("An audit that finds nothing says what it looked at and what it could not") {
  const std::string text = audit_view(report(), {.ledger = "pool.sqlite"});
  CHECK(contains(text, "pool.sqlite: 12 records from 2026-11-22T12:00:00.000Z"));
  CHECK(contains(text, "3 holds opened, 2 settled, 1 open; 1 account; 2 changes"));
  CHECK(contains(text, "at 2 of 3 holds with a quota part; the other 1"));
  CHECK(contains(text, "not checked"));
  CHECK(contains(text, "that windows ended in time, before their rule was on record"));
  CHECK(contains(text, "everything adds up"));
  CHECK_FALSE(contains(audit_view(report(), {.ledger = "pool.sqlite", .config = "pool.toml"}),
                       "before their rule"));
  AuditReport recorded = report();
  recorded.windowless = 0;
  recorded.extensions = 1;
  CHECK(contains(audit_view(recorded, {.ledger = "pool.sqlite"}),
                 "or that the rule of windows opens"));
  CHECK(contains(audit_view(recorded, {.ledger = "pool.sqlite"}), "1 open; 1 extension; 1 acc"));
  CHECK(contains(text, "--noted compares): 12:" + std::string(64, '0')));
}

TEST_CASE("An audit prints every difference with its record") {
  AuditReport found = report();
  found.findings = {"record 7: is not as it was written"};
  found.more_findings = 4;
  found.rebuilt = false;
  const std::string text = audit_view(found, {.ledger = "pool.sqlite"});
  CHECK(contains(text, "5 differences\n  record 7: is not as it was written\n  and 4 more\n"));
  CHECK_FALSE(contains(text, "adds up"));
  const Json json = json_of(found, {.ledger = "pool.sqlite"});
  CHECK(json["differs"] == true);
  CHECK(json["findings"][0] == "record 7: is not as it was written");
  CHECK(json["digest"].is_null());
}

TEST_CASE("Differences beyond what was asked are counted, and are no failure") {
  AuditReport found = report();
  found.beyond_scope = 2;
  const AuditOptions options{.ledger = "pool.sqlite", .account = "ada"};
  const std::string text = audit_view(found, options);
  CHECK(contains(text, "2 differences beyond --since or --account\n"));
  CHECK(contains(text, "the rest adds up"));
  CHECK(json_of(found, options)["beyond_scope"] == 2);
  CHECK(json_of(found, options)["differs"] == false);
}

TEST_CASE("A noted digest is a record and 64 hexadecimal digits") {
  const auto noted = parse_noted(note("17", 'A', 64));
  REQUIRE(noted);
  CHECK(noted->first == 17);
  CHECK(noted->second.find_first_not_of('a') == std::string::npos);
  for (const std::string& bad : {note("0", 'a', 64), note("17", 'a', 63), note("17", 'g', 64),
                                 note("x", 'a', 64), note("", 'a', 64), note("17", 'a', 0)})
    CHECK(parse_noted(bad).error().code == Errc::bad_request);
  CHECK_FALSE(parse_noted(""));
  CHECK_FALSE(parse_noted("17"));
}

TEST_CASE("An audit as JSON has every number") {
  const Json json = json_of(report(), {.ledger = "pool.sqlite"});
  CHECK(json["differs"] == false);
  CHECK(json["records"] == 12);
  CHECK(json["open_holds"] == 1);
  CHECK(json["holds_unmeasured"] == 1);
  CHECK(json["windows_checked"] == false);
  CHECK(json["extensions"] == 0);
  CHECK(json["digest"] == "0000000000000abc");
  CHECK(json["first_record_at"] == "2026-11-22T12:00:00.000Z");
}
