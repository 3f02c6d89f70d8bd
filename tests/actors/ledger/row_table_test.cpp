// RowTable against a plain map, with batches that are kept and undone.
#include "actors/ledger/row_table.h"

#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "actors/ledger/request_table.h"
#include "base/prng.h"

using namespace gpupool;

namespace {

struct Word {
  std::string text;
  std::int64_t value = 0;
  const std::string& key() const { return text; }
  // Few hashes, so that rows stand in each other's way.
  static std::uint64_t hash_of(const std::string& text) { return text.size() % 3; }
};

std::map<std::string, std::int64_t> content_of(const RowTable<Word>& table) {
  std::map<std::string, std::int64_t> content;
  table.each([&content](const Word& word) { content[word.text] = word.value; });
  return content;
}

RequestId made_at(std::int64_t ms, std::uint64_t number) {
  return {.high = static_cast<std::uint64_t>(ms) << 16U, .low = number};
}

}  // namespace

TEST_CASE("A table of rows is a map whose batches can be undone, on 200 seeds") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    INFO("seed " << seed);
    Prng rng(seed);
    RowTable<Word> table;
    std::map<std::string, std::int64_t> plain;
    for (int batch = 0; batch < 20; ++batch) {
      const auto before = plain;
      const bool in_batch = !rng.one_in(4);
      if (in_batch) table.begin_batch();
      for (std::int64_t i = rng.between(0, 30); i > 0; --i) {
        const std::string key(static_cast<std::size_t>(rng.between(1, 40)), 'a');
        const std::uint32_t number = table.find(key);
        REQUIRE((number != RowTable<Word>::none) == plain.contains(key));
        const std::int64_t value = rng.between(0, 1'000'000);
        if (number == RowTable<Word>::none) {
          const std::uint32_t added = table.insert({key, value});
          REQUIRE(table[added].value == value);
          plain[key] = value;
        } else if (rng.one_in(2)) {
          REQUIRE(table.erase(number).text == key);
          plain.erase(key);
        } else {
          table.change(number).value = value;
          plain[key] = value;
        }
      }
      if (in_batch && rng.one_in(2)) {
        table.undo_batch();
        plain = before;
      } else {
        table.keep_batch();
      }
      REQUIRE(content_of(table) == plain);
      REQUIRE(table.size() == plain.size());
    }
    const RowTable<Word> copy = table;
    CHECK(content_of(copy) == plain);
  }
}

TEST_CASE("Rows come in the order of their keys, and keep their numbers") {
  RowTable<Word> table;
  const std::uint32_t b = table.insert({"b", 2});
  const std::uint32_t a = table.insert({"a", 1});
  for (int i = 0; i < 3'000; ++i) table.insert({"c" + std::to_string(i), i});
  CHECK(table.find(std::string("b")) == b);
  CHECK(table.find(std::string("a")) == a);
  CHECK(table.in_order().front()->text == "a");
  CHECK(table.in_order()[1]->text == "b");
  table.erase(b);
  CHECK(table.get(std::string("b")) == nullptr);
  CHECK(table.insert({"d", 4}) == b);
}

TEST_CASE("Request ids are forgotten by their own time, those of open jobs by name") {
  RequestTable table;
  const RequestKey old{made_at(100, 1), 7};
  const RequestKey open{made_at(100, 2), 7};
  const RequestKey young{made_at(200, 3), 7};
  table.insert({.request = young, .job = {3}});
  table.insert({.request = old, .job = {1}});
  table.insert({.request = open, .job = {2}});
  const auto is_closed = [](JobId job) { return job != JobId{2}; };
  CHECK_FALSE(table.any_before({100}, is_closed));
  CHECK(table.any_before({101}, is_closed));
  table.forget_before({101}, is_closed);
  CHECK(table.find(old) == nullptr);
  REQUIRE(table.find(open) != nullptr);
  CHECK(table.find(young) != nullptr);
  CHECK_FALSE(table.any_before({150}, is_closed));
  table.forget(open);
  CHECK(table.size() == 1);
}

TEST_CASE("What a batch forgot is remembered again when it is undone") {
  RequestTable table;
  const RequestKey old{made_at(100, 1), 7};
  const RequestKey same_time{made_at(100, 2), 8};
  const auto any = [](JobId) { return true; };
  table.insert({.request = old, .job = {1}});
  table.begin_batch();
  table.insert({.request = same_time, .job = {2}});
  table.forget_before({101}, any);
  table.insert({.request = {made_at(300, 4), 7}, .job = {4}});
  CHECK(table.size() == 1);
  table.undo_batch();
  CHECK(table.size() == 1);
  CHECK(table.find(old) != nullptr);
  CHECK(table.find(same_time) == nullptr);
  table.forget_before({101}, any);
  CHECK(table.size() == 0);
}

TEST_CASE("An id is scoped by its account, whose key never changes") {
  CHECK(account_key({"user:ada"}) != account_key({"user:bob"}));
  CHECK(account_key({"user:ada"}) == 0xa774'e46e'ab16'3af6);
}
