// A record as a line of JSON and back: nothing is lost, names are those of the members, and what is
// wrong with a line is said with its place.

#include "cli/record_json.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <limits>
#include <regex>
#include <set>

#include "actors/ledger/record_names.h"
#include "base/pack.h"

using namespace gpupool;

namespace {

// Fills every field with something of its own, so that no two can change places unseen.
class Filler {
 public:
  template <class T>
  void fill(T& value) {
    if constexpr (detail::is_shared<T>::value) {
      std::remove_cvref_t<decltype(*value)> inner{};
      fill(inner);
      value = std::move(inner);
    } else if constexpr (std::is_same_v<T, std::string>) {
      value = "text " + std::to_string(++number_);
    } else if constexpr (std::is_same_v<T, bool>) {
      value = true;
    } else if constexpr (detail::HasFields<T>) {
      std::apply([this](auto&... field) { (fill(field), ...); }, value.fields());
    } else if constexpr (detail::Sequence<T>) {
      for (int i = 0; i < 2; ++i) fill(value.emplace_back());
    } else if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(++number_ % (std::is_same_v<T, WindowKind> ? 2 : 4) + 1);
    } else {
      value = static_cast<T>(++number_);
    }
  }

 private:
  std::uint32_t number_ = 0;
};

template <std::size_t... Index>
std::vector<Record> one_of_every_kind(std::index_sequence<Index...>) {
  std::vector<Record> records;
  Filler filler;
  const auto add = [&](RecordBody body) {
    std::visit([&filler](auto& each) { filler.fill(each); }, body);
    records.push_back({.sequence = records.size() + 1, .at = {1'000}, .body = std::move(body)});
  };
  (add(RecordBody(std::in_place_index<Index>)), ...);
  return records;
}

std::vector<Record> one_of_every_kind() {
  return one_of_every_kind(std::make_index_sequence<std::variant_size_v<RecordBody>>{});
}

std::string problem_of(const std::string& line) {
  const auto record = record_of_line(line);
  REQUIRE_FALSE(record);
  CHECK(record.error().code == Errc::file_malformed);
  return record.error().detail;
}

std::string line_with(const std::string& fields, const std::string& kind = "lease_noted") {
  return R"({"sequence":1,"at":5,"kind":")" + kind + R"(","fields":)" + fields + "}";
}

// The members of a struct, in the order of its std::tie, as the sources have them.
std::vector<std::string> members_of(const std::string& sources, const std::string& name) {
  const auto begin = sources.find("struct " + name + " {");
  REQUIRE(begin != std::string::npos);
  const auto tie = sources.find("std::tie(", begin) + 9;
  const std::string list = sources.substr(tie, sources.find(')', tie) - tie);
  static const std::regex word{"\\w+"};
  std::vector<std::string> members;
  for (std::sregex_iterator i(list.begin(), list.end(), word), end; i != end; ++i)
    members.push_back(i->str());
  return members;
}

template <class Struct>
void check_names(const std::string& sources, const std::string& name) {
  const auto& names = names_of_fields<Struct>();
  INFO(name);
  CHECK(std::vector<std::string>(names.begin(), names.end()) == members_of(sources, name));
}

}  // namespace

TEST_CASE("A record of every kind survives its line of JSON, field by field") {
  for (const Record& record : one_of_every_kind()) {
    const std::string line = line_of(record);
    INFO(line);
    CHECK(line.find('\n') == std::string::npos);
    const auto again = record_of_line(line);
    INFO((again ? std::string() : again.error().detail));
    REQUIRE(again);
    CHECK(pack(*again) == pack(record));
    CHECK(line_of(*again) == line);
  }
  CHECK(std::set<std::string_view>(kind_names.begin(), kind_names.end()).size() ==
        std::variant_size_v<RecordBody>);
}

TEST_CASE("A line says what happened in words that people know") {
  const Record record{
      .sequence = 7,
      .at = {1'770'000'000'000},
      .body = HoldSettled{
          .job = {3}, .outcome = Outcome::failed, .cause = Errc::node_lost, .ran = seconds(2)}};
  const Json json = json_of(record);
  CHECK(json["sequence"] == 7);
  CHECK(json["at"] == 1'770'000'000'000);
  CHECK(json["kind"] == "hold_settled");
  CHECK(json["fields"]["job"] == 3);
  CHECK(json["fields"]["outcome"] == "failed");
  CHECK(json["fields"]["cause"] == "node_lost");
  CHECK(json["fields"]["ran"] == 2'000);
  const Hold hold{.request = {.high = 0x0190a6c12f3a7b10, .low = 0x8c4d5e6f70819293}};
  CHECK(json_of({.body = HoldOpened{.hold = hold}})["fields"]["hold"]["request"] ==
        "0190a6c1-2f3a-7b10-8c4d-5e6f70819293");
}

TEST_CASE("The largest integers and bytes that are no text survive") {
  using Unsigned = std::numeric_limits<std::uint64_t>;
  using Signed = std::numeric_limits<std::int64_t>;
  for (const std::uint64_t number :
       {std::uint64_t{0}, std::uint64_t{1} << 53U, (std::uint64_t{1} << 53U) + 1, Unsigned::max()})
    for (const std::int64_t ms : {Signed::min(), std::int64_t{-1}, Signed::max()}) {
      Hold hold{.job = {number}, .request = {number, number}, .body_hash = number};
      hold.promise = {ms};
      hold.quota_part = {ms};
      hold.account.text = std::string("a\0\xff\xc3\x28\n\"", 7);
      hold.tier = "caf\xc3\xa9 \xe2\x82\xac \x01";
      const Record record{.sequence = number, .at = {ms}, .body = HoldOpened{.hold = hold}};
      const auto again = record_of_line(line_of(record));
      REQUIRE(again);
      CHECK(pack(*again) == pack(record));
    }
  const Json json =
      json_of({.sequence = Unsigned::max(), .body = PromiseRestated{.reason = "\xff"}});
  CHECK(json["sequence"] == "18446744073709551615");
  CHECK(json["fields"]["reason"] == Json({{"hex", "ff"}}));
}

TEST_CASE("An enumerator of a later version survives as its number") {
  const Record record{.body = HoldSettled{.outcome = static_cast<Outcome>(77)}};
  const auto again = record_of_line(line_of(record));
  REQUIRE(again);
  CHECK(pack(*again) == pack(record));
}

TEST_CASE("A line from before a field was added gets that field's default") {
  const auto read = record_of_line(line_with(R"({"job":4,"attempt":2})"));
  REQUIRE(read);
  CHECK(std::get<LeaseNoted>(read->body).job == JobId{4});
  CHECK(std::get<LeaseNoted>(read->body).node_name.empty());
}

TEST_CASE("What is wrong with a line is said with the name of its field") {
  CHECK(problem_of("") == "is not JSON");
  CHECK(problem_of("{\"sequence\":1") == "is not JSON");
  CHECK(problem_of("[1]") == "expected an object");
  CHECK(problem_of(R"({"sequence":1,"at":5,"kind":"hold_opened"})") == "fields: is missing");
  CHECK(problem_of(line_with("{}", "hold_eaten")) ==
        "kind: this gpupool knows no record \"hold_eaten\"");
  CHECK(problem_of(R"({"sequence":-1,"at":5,"kind":"x","fields":{}})") ==
        "sequence: expected a whole number from 0 to 18446744073709551615");
  CHECK(problem_of(line_with("{}")) == "lease_noted.job: is missing");
  CHECK(problem_of(line_with(R"({"job":1,"node":2})")) == "lease_noted.attempt: is missing");
  CHECK(problem_of(line_with(R"({"job":1,"colour":2})")) ==
        "lease_noted.colour: is not known here");
  CHECK(problem_of(line_with(R"({"job":1.5})")).starts_with("lease_noted.job: expected a whole"));
  CHECK(problem_of(line_with(R"({"job":"1 "})")).starts_with("lease_noted.job: expected a whole"));
  CHECK(problem_of(line_with(R"({"job":1,"attempt":4294967296})")) ==
        "lease_noted.attempt: expected a whole number from 0 to 4294967295");
  CHECK(problem_of(line_with(R"({"job":1,"attempt":1,"node":1,"node_name":{"hex":"f"}})"))
            .starts_with("lease_noted.node_name: expected text"));
  CHECK(problem_of(line_with(R"({"job":1,"outcome":"won"})", "hold_settled")) ==
        "hold_settled.outcome: is not one of its words");
  CHECK(problem_of(line_with(R"({"hold":{"job":1,"request":"17"}})", "hold_opened"))
            .starts_with("hold_opened.hold.request: expected an id like"));
  CHECK(problem_of(line_with(R"({"tiers":[{"name":"free"},{"name":7}]})", "terms_set"))
            .starts_with("terms_set.tiers.1.name: expected text"));
}

TEST_CASE("Names of exports are the names of the members") {
  std::string sources;
  for (const char* path : {"actors/ledger/records.h", "actors/messages/parts.h",
                           "actors/messages/console.h", "actors/messages/ledger.h"}) {
    std::ifstream file(path);
    REQUIRE(file);
    sources.append(std::istreambuf_iterator<char>(file), {});
  }
  check_names<EpochRaised>(sources, "EpochRaised");
  check_names<HoldOpened>(sources, "HoldOpened");
  check_names<Hold>(sources, "Hold");
  check_names<JobRequest>(sources, "JobRequest");
  check_names<Argument>(sources, "Argument");
  check_names<LeaseNoted>(sources, "LeaseNoted");
  check_names<JobRequeued>(sources, "JobRequeued");
  check_names<PromiseRestated>(sources, "PromiseRestated");
  check_names<HoldSettled>(sources, "HoldSettled");
  check_names<ResultRef>(sources, "ResultRef");
  check_names<TermsSet>(sources, "TermsSet");
  check_names<TierTerms>(sources, "TierTerms");
  check_names<AppTerms>(sources, "AppTerms");
  check_names<Change>(sources, "Change");
  check_names<AccountTierSet>(sources, "AccountTierSet");
  check_names<TokenRevoked>(sources, "TokenRevoked");
  check_names<Revocation>(sources, "Revocation");
  check_names<DrainingSet>(sources, "DrainingSet");
  check_names<AnnouncementSet>(sources, "AnnouncementSet");
  check_names<WindowTerms>(sources, "WindowTerms");
  check_names<CreditsGranted>(sources, "CreditsGranted");
  check_names<QuotaAdjusted>(sources, "QuotaAdjusted");
  check_names<HoldExtended>(sources, "HoldExtended");
}
