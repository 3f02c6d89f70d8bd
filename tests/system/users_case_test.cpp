// The case from the users' own words, on a real pool with the real model and the real program.
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/clock.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using nlohmann::json;

json quota_of(const PoolProcess& pool, const std::string& user) {
  const Output output = pool.gpupool(user, {"quota", "--json"});
  INFO(output.error);
  REQUIRE(output.exit_code == 0);
  return json::parse(output.out);
}

json receipts_of(const PoolProcess& pool, const std::string& user) {
  const Output output = pool.gpupool(user, {"receipts", "--json"});
  INFO(output.error);
  REQUIRE(output.exit_code == 0);
  return json::parse(output.out);
}

std::string tier_of(int allowance_s) {
  return "[[tiers]]\nname = \"anonymous\"\nallowance_s = 120\nlongest_s = 120\n"
         "[[tiers]]\nname = \"free\"\nrank = 1\nallowance_s = " +
         std::to_string(allowance_s) + "\nlongest_s = 180\n";
}

}  // namespace

TEST_CASE("Three pictures cost a free account only the seconds that they really ran") {
  PoolProcess pool;
  pool.start();
  std::int64_t charged = 0;
  for (int i = 0; i < 3; ++i) {
    const auto file = pool.folder() / ("picture" + std::to_string(i) + ".png");
    const Output made =
        pool.gpupool("ada", {"generate", "a red heart", "-o", file.string(), "--json"});
    INFO(made.error << made.out);
    REQUIRE(made.exit_code == 0);
    const json receipt = json::parse(made.out)["receipt"];
    CHECK(receipt["declared_ms"] == 60'000);
    CHECK(receipt["held_ms"] == 60'000);
    CHECK(receipt["charged_ms"] == receipt["ran_ms"]);
    CHECK(receipt["charged_ms"].get<std::int64_t>() < 60'000);
    CHECK(receipt["charged_ms"].get<std::int64_t>() +
              receipt["given_back_ms"].get<std::int64_t>() ==
          60'000);
    charged += receipt["charged_ms"].get<std::int64_t>();
    std::ifstream picture(file, std::ios::binary);
    std::string start(8, '\0');
    picture.read(start.data(), 8);
    CHECK(start == "\x89PNG\r\n\x1a\n");
  }
  const json balance = quota_of(pool, "ada")["balance"];
  CHECK(balance["allowance_ms"] == 210'000);
  CHECK(balance["used_ms"] == charged);
  CHECK(balance["held_ms"] == 0);
  CHECK(balance["left_ms"] == 210'000 - charged);
  CHECK(receipts_of(pool, "ada")["receipts"].size() == 3);
}

TEST_CASE("A second request is refused with every number while the first one holds the quota") {
  PoolProcess pool({.settings = tier_of(70)});
  pool.start();
  const auto log = pool.folder() / "first.log";
  const pid_t first = pool.gpupool_in_background(
      "bob",
      {"generate", "a red heart", "-o", (pool.folder() / "first.png").string(), "--steps", "10000"},
      log);
  json balance;
  REQUIRE(wait_until(seconds(30), [&] {
    balance = quota_of(pool, "bob")["balance"];
    return balance["held_ms"] == 60'000;
  }));
  CHECK(balance["left_ms"] == 10'000);
  CHECK(balance["used_ms"] == 0);

  const Output second = pool.gpupool("bob", {"generate", "a star", "-o", "/dev/null"});
  INFO(second.out << second.error);
  CHECK(second.exit_code == 3);
  const std::string text = second.out + second.error;
  CHECK(text.find("quota_exceeded") != std::string::npos);
  CHECK(text.find("60.0 s") != std::string::npos);
  CHECK(text.find("10.0 s left") != std::string::npos);
  CHECK(text.find("60.0 s held") != std::string::npos);
  CHECK(std::regex_search(text, std::regex(R"(\d\d:\d\d:\d\d UTC)")));
  CHECK(text.find("--duration 10") != std::string::npos);

  const Output refused = pool.gpupool(
      "bob", {"generate", "a star", "-o", (pool.folder() / "x.png").string(), "--json"});
  const json refusal = json::parse(refused.out)["refused"];
  CHECK(refusal["code"] == "quota_exceeded");
  CHECK(refusal["cost_ms"] == 60'000);
  CHECK(refusal["balance"]["left_ms"] == 10'000);
  CHECK(refusal["balance"]["held_ms"] == 60'000);
  CHECK(refusal["balance"]["fits"][0]["longest_ms"] == 10'000);
  CHECK_FALSE(refusal["balance"]["held_until"].is_null());
  CHECK_FALSE(refusal["balance"]["resets_at"].is_null());
  CHECK_FALSE(std::filesystem::exists(pool.folder() / "x.png"));

  const Output shorter =
      pool.gpupool("bob", {"generate", "a star", "-o", (pool.folder() / "star.png").string(),
                           "--duration", "8", "--steps", "5"});
  INFO(shorter.out << shorter.error);
  CHECK(shorter.exit_code == 0);
  CHECK(std::filesystem::exists(pool.folder() / "star.png"));

  kill(first, SIGINT);
  int status = 0;
  REQUIRE(waitpid(first, &status, 0) == first);
  CHECK(WEXITSTATUS(status) == 130);
  REQUIRE(
      wait_until(seconds(20), [&] { return quota_of(pool, "bob")["balance"]["held_ms"] == 0; }));
  std::ifstream file(log);
  const std::string said((std::istreambuf_iterator<char>(file)), {});
  CHECK(said.find("charged") != std::string::npos);
  CHECK(said.find("given back") != std::string::npos);
}

TEST_CASE("An absurd duration is refused with the cap and a bad token is never anonymous") {
  PoolProcess pool;
  pool.start();
  const auto file = (pool.folder() / "x.png").string();
  const Output longer =
      pool.gpupool("eve", {"generate", "a star", "-o", file, "--duration", "4000"});
  CHECK(longer.exit_code == 3);
  const std::string text = longer.out + longer.error;
  INFO(text);
  CHECK(text.find("illegal_duration") != std::string::npos);
  CHECK(text.find("4000.0 s") != std::string::npos);
  CHECK(text.find("180.0 s") != std::string::npos);

  const std::string expired = pool.token("eve", Duration{-60'000});
  const Output late = pool.gpupool_with_token(expired, {"generate", "a star", "-o", file});
  INFO(late.out << late.error);
  CHECK(late.exit_code == 3);
  CHECK((late.out + late.error).find("unauthenticated") != std::string::npos);

  const Output nobody = pool.gpupool("", {"quota", "--json"});
  REQUIRE(nobody.exit_code == 0);
  CHECK(json::parse(nobody.out)["balance"]["tier"] == "anonymous");
  CHECK(json::parse(nobody.out)["balance"]["used_ms"] == 0);
  CHECK_FALSE(std::filesystem::exists(file));
}

}  // namespace gpupool::test
