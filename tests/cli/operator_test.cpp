// What operators read and what programs get: tables, changes, and the words behind a command line.
#include "cli/operator.h"

#include <catch2/catch.hpp>
#include <sstream>

#include "cli/arguments.h"
#include "cli/views.h"
#include "net/json_output.h"
#include "tests/cli/samples.h"

using namespace gpupool;

namespace {

using Words = std::vector<std::string>;
using Keys = std::vector<std::string>;

constexpr Style terminal{.columns = 80, .is_terminal = true};

std::size_t widest_line(const std::string& text) {
  std::istringstream stream(text);
  std::size_t widest = 0;
  for (std::string line; std::getline(stream, line);) widest = std::max(widest, width_of(line));
  return widest;
}

Table accounts() {
  return {.title = "accounts",
          .columns = {{"account"},
                      {"tier"},
                      {"left", CellKind::amount},
                      {"open_jobs", CellKind::count},
                      {"resets_at", CellKind::instant},
                      {"set", CellKind::flag}},
          .rows = {{"user:ada", "free", "206783", "1",
                    std::to_string((samples::noon + hours(24)).ms), "0"},
                   {"user:bob", "pro", "1500000", "", "0", "1"}},
          .note = "2 accounts",
          .more = "user:bob"};
}

ChangesAnswer changes_answer() {
  return {.query = 1,
          .changes = {{.at = samples::noon + seconds(60),
                       .who = "operator user:root",
                       .kind = ChangeKind::account,
                       .subject = "user:ada",
                       .field = "tier",
                       .before = "free",
                       .after = "pro"},
                      {.at = samples::noon,
                       .who = "configuration at start",
                       .kind = ChangeKind::app,
                       .subject = "emoji",
                       .field = "longest",
                       .after = "300.0 s"}},
          .more = true,
          .known_since = samples::noon - hours(24)};
}

}  // namespace

TEST_CASE("A table has aligned columns, units, UTC times, its note and where to go on") {
  CHECK(table_view({}, accounts()) ==
        R"(ACCOUNT   TIER       LEFT  OPEN JOBS  RESETS AT             SET
user:ada  free  206.783 s          1  2026-11-23T12:00:00Z  no
user:bob  pro    1500.0 s          -  -                     yes
2 accounts
more with --after user:bob
)");
}

TEST_CASE(
    "A moment by which something is sure to have come is rounded up in a table, as elsewhere") {
  const std::string later = std::to_string(samples::noon.ms + 1);
  const Table table{.title = "queue",
                    .columns = {{"promise", CellKind::instant}, {"admitted_at", CellKind::instant}},
                    .rows = {{later, later}}};
  CHECK(table_view({}, table).find("2026-11-22T12:00:01Z  2026-11-22T12:00:00Z\n") !=
        std::string::npos);
}

TEST_CASE("A terminal shows the columns that fit and names the others; a file has them all") {
  Table table = accounts();
  for (int i = 0; i < 5; ++i) {
    table.columns.push_back({"extra_" + std::to_string(i)});
    for (auto& row : table.rows) row.push_back("something");
  }
  const std::string shown = table_view(terminal, table);
  CHECK(widest_line(shown) <= 80);
  CHECK(shown.find("also, in a wider terminal or with --json: extra_1, extra_2") !=
        std::string::npos);
  CHECK(table_view({}, table).find("EXTRA 4") != std::string::npos);
}

TEST_CASE("A column that is wider than the terminal is still shown") {
  Table table{.title = "audit", .columns = {{"finding"}}, .rows = {{std::string(200, 'x')}}};
  CHECK(table_view(terminal, table).find(std::string(200, 'x')) != std::string::npos);
}

TEST_CASE("A table without rows says what it has to say") {
  CHECK(table_view({}, {.title = "accounts"}) == "no accounts\n");
  CHECK(table_view({}, {.title = "queue", .columns = {{"job"}}, .note = "0 jobs wait"}) ==
        "0 jobs wait\n");
}

TEST_CASE("A table with too few, too many or odd cells is shown without harm") {
  const Table table{.title = "odd",
                    .columns = {{"name"}, {"left", CellKind::amount}, {"at", CellKind::instant}},
                    .rows = {{"\x1b[2J"}, {"a", "1x", "-5", "more"}, {"b", "9223372036854775807"}}};
  const std::string shown = table_view({}, table);
  CHECK(shown.find('\x1b') == std::string::npos);
  CHECK(shown.find("1x") != std::string::npos);
  const Json json = json_of(table);
  CHECK(json["rows"][1]["left_ms"] == "1x");
  CHECK_FALSE(json["rows"][0].contains("left_ms"));
}

TEST_CASE("A table in JSON has rows by column, milliseconds keyed as such, and null for nothing") {
  const Json json = json_of(accounts());
  Keys keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  CHECK(keys == Keys{"title", "columns", "rows", "note", "more"});
  CHECK(json["columns"] == Json{"account", "tier", "left_ms", "open_jobs", "resets_at", "set"});
  CHECK(json["rows"][0] == Json{{"account", "user:ada"},
                                {"tier", "free"},
                                {"left_ms", 206'783},
                                {"open_jobs", 1},
                                {"resets_at", "2026-11-23T12:00:00.000Z"},
                                {"set", false}});
  CHECK(json["rows"][1]["open_jobs"].is_null());
  CHECK(json["rows"][1]["resets_at"].is_null());
  CHECK(json["more"] == "user:bob");
  CHECK(json_of(Table{.title = "apps"})["more"].is_null());
}

TEST_CASE("Changes say when, by whom, and from what to what") {
  CHECK(changes_view({}, changes_answer()) ==
        R"(2026-11-22T12:01:00Z  operator user:root
  account user:ada, tier: free -> pro
2026-11-22T12:00:00Z  configuration at start
  app emoji, longest: 300.0 s
there are older ones: ask with a greater --limit
what was changed before 2026-11-21T12:00:00Z is forgotten
)");
  CHECK(changes_view({}, {}) == "nothing that you can see was changed\n");
}

TEST_CASE("A change that took something away says what there was") {
  ChangesAnswer answer = changes_answer();
  answer.changes[0].after = "";
  CHECK(changes_view({}, answer).find("tier: free, which is gone\n") != std::string::npos);
}

TEST_CASE("A change with a reason tells it") {
  ChangesAnswer answer = changes_answer();
  answer.changes[0].why = "for the workshop";
  CHECK(changes_view({}, answer).find("tier: free -> pro (for the workshop)\n") !=
        std::string::npos);
  CHECK(json_of(answer)["changes"][0]["why"] == "for the workshop");
}

TEST_CASE("Changes in JSON have their keys, and null for what is new or gone") {
  const Json json = json_of(changes_answer());
  CHECK(json["changes"][0] == Json{{"at", "2026-11-22T12:01:00.000Z"},
                                   {"who", "operator user:root"},
                                   {"kind", "account"},
                                   {"subject", "user:ada"},
                                   {"field", "tier"},
                                   {"before", "free"},
                                   {"after", "pro"},
                                   {"why", nullptr}});
  CHECK(json["changes"][1]["before"].is_null());
  CHECK(json["more"] == true);
  CHECK(json["known_since"] == "2026-11-21T12:00:00.000Z");
}

TEST_CASE("A command line becomes the console's words, in its order") {
  CHECK(words_of("nodes", {}) == Words{"nodes"});
  CHECK(words_of("tier", {.names = {"ada"}, .from_token = true}) ==
        Words{"tier", "ada", "--from-token"});
  CHECK(words_of("accounts", {.after = "user:ada", .limit = "5"}) ==
        Words{"accounts", "--after", "user:ada", "--limit", "5"});
  CHECK(words_of("grant", {.names = {"ada", "10m"}, .why = "a b", .id = "ID", .take_back = true}) ==
        Words{"grant", "ada", "10m", "--why", "a b", "--id", "ID", "--take-back"});
  CHECK(words_of("adjust", {.names = {"ada"}, .give_back = "30", .why = "w"}) ==
        Words{"adjust", "ada", "--give-back", "30", "--why", "w"});
  CHECK(words_of("adjust", {.names = {"ada"}, .charge = "30"}) ==
        Words{"adjust", "ada", "--charge", "30"});
  CHECK(words_of("announce", {.clear = true}) == Words{"announce", "--clear"});
}

TEST_CASE("What the console refuses is told to programs in the console's own words") {
  const Json json = json_of(refusal_by_console(
      {.code = Errc::forbidden, .detail = "only operators may, and user:ada is none"}));
  CHECK(json["code"] == "forbidden");
  CHECK(json["sentence"] == "only operators may, and user:ada is none");
  CHECK(json["app"].is_null());
}

TEST_CASE("A moment in the past is a time ago, a date or a date with a time") {
  const Instant now = samples::noon;
  const auto read = [&](const char* text) { return *parse_since(text, now); };
  CHECK(read("7d") == now - hours(7 * 24));
  CHECK(read("90s") == now - seconds(90));
  CHECK(read("2026-11-22") == now - hours(12));
  CHECK(read("2026-11-22T12:00:00Z") == now);
  CHECK(read("2026-11-22T12:00:00.042Z") == now + milliseconds(42));  // as --json prints it
  CHECK(read("2024-02-29") == Instant{1'709'164'800'000});
}

TEST_CASE("What is no moment is refused with the forms that are") {
  for (const char* text :
       {"", "yesterday", "7", "-7d", "2026-13-01", "2026-02-29", "2026-11-22T24:00:00Z",
        "2026-11-22T12:00:00", "2026-11-22T12:00:00.", "2026-11-22T12:00:00.1Z",
        "2026-11-22 12:00:00Z", "1969-12-31", "2026-1-1", "2026-11-22T1"}) {
    const auto moment = parse_since(text, samples::noon);
    REQUIRE_FALSE(moment);
    CHECK(moment.error().detail.find("2026-11-01T18:30:00Z") != std::string::npos);
  }
}
