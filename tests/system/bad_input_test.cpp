// What users get wrong, through the real program and the SDK: each mistake is a clear sentence and
// an exit code, and costs nothing.
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using nlohmann::json;

struct Mistake {
  std::string what;
  std::vector<std::string> arguments;  // behind "generate"
  int exit_code;
  std::vector<std::string> words;  // that its answer must hold
};

std::vector<Mistake> mistakes(const std::string& folder) {
  const std::string file = folder + "/x.png";
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> all{"a star", "-o", file};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  return {
      {"unknown app", with({"--app", "nope"}), 3, {"unknown_app", "nope"}},
      {"unknown size", with({"--size", "huge"}), 3, {"huge"}},
      {"empty prompt", {"", "-o", file}, 3, {"bad_request", "prompt", "1 to 1000 bytes"}},
      {"long prompt", {std::string(100'000, 'x'), "-o", file}, 3, {"bad_request", "100000 bytes"}},
      {"no UTF-8", {"a \xff\xfe star", "-o", file}, 3, {"bad_request", "is not UTF-8"}},
      {"no steps", with({"--steps=0"}), 3, {"bad_request", "steps", "10000"}},
      {"negative steps", with({"--steps=-1"}), 3, {"bad_request", "steps", "10000"}},
      {"many steps", with({"--steps=1000000000"}), 3, {"bad_request", "steps", "10000"}},
      {"steps in words", with({"--steps=many"}), 3, {"bad_request", "steps"}},
      {"negative duration", with({"--duration=-5"}), 2, {"-5"}},
      {"no duration", with({"--duration=0"}), 2, {"above 0"}},
      {"NaN duration", with({"--duration=nan"}), 2, {"nan"}},
      {"infinite duration", with({"--duration=inf"}), 2, {"inf"}},
      {"huge duration", with({"--duration=999999999"}), 3, {"illegal_duration", "180.0 s"}},
      {"duration beyond numbers",
       with({"--duration=99999999999999999999"}),
       2,
       {"seconds above 0"}},
      {"no folder", {"a star", "-o", folder + "/missing/x.png"}, 2, {"No such file or directory"}},
      {"a folder", {"a star", "-o", folder}, 2, {"Is a directory"}},
      {"nothing writable", {"a star", "-o", "/proc/x.png"}, 2, {"/proc/x.png"}},
  };
}

// Views wrap their lines; a number and its unit may stand on two of them.
std::string flat(const std::string& text) {
  return std::regex_replace(text, std::regex("\n +"), " ");
}

void check_untouched(const PoolProcess& pool) {
  const json balance = json::parse(pool.gpupool("eve", {"quota", "--json"}).out)["balance"];
  CHECK(balance["used_ms"] == 0);
  CHECK(balance["held_ms"] == 0);
  CHECK(json::parse(pool.gpupool("eve", {"jobs", "--json"}).out)["jobs"].empty());
}

}  // namespace

TEST_CASE("Each mistake on the command line is a clear sentence and costs nothing") {
  PoolProcess pool;
  pool.start();
  const auto folder = pool.folder() / "pictures";
  std::filesystem::create_directory(folder);
  for (const Mistake& mistake : mistakes(folder.string())) {
    std::vector<std::string> arguments{"generate"};
    arguments.insert(arguments.end(), mistake.arguments.begin(), mistake.arguments.end());
    const Output output = pool.gpupool("eve", arguments);
    const std::string text = flat(output.out + output.error);
    INFO(mistake.what << ": " << text);
    CHECK(output.exit_code == mistake.exit_code);
    for (const std::string& words : mistake.words) CHECK(text.find(words) != std::string::npos);
    CHECK(text.size() < 4'000);
    CHECK(std::filesystem::is_empty(folder));
  }
  check_untouched(pool);
  const json receipts = json::parse(pool.gpupool("eve", {"receipts", "--json"}).out)["receipts"];
  for (const json& receipt : receipts) CHECK(receipt["charged_ms"] == 0);
}

TEST_CASE("A prompt of a megabyte is refused by the SDK or the pool, and the client goes on") {
  PoolProcess pool;
  pool.start();
  const auto eve = pool.client("eve");
  JobRequest body = picture(5);
  body.arguments[0].value = std::string(1'000'000, 'x');
  const Status submitted = eve->submit(new_request(), body);
  CHECK_FALSE(submitted);
  if (!submitted) CHECK(submitted.error().code == Errc::frame_too_large);
  body.arguments[0].value = std::string(200'000, 'x');
  REQUIRE(eve->submit(new_request(), body));
  const auto refused = wait_for_refusal(*eve);
  REQUIRE(refused);
  CHECK(refused->code == Errc::bad_request);
  check_untouched(pool);
  submit_picture(*eve, 5);
  CHECK(wait_for_end(*eve));
}

TEST_CASE("A request id means one body, for two days") {
  PoolProcess pool;
  pool.start();
  const auto eve = pool.client("eve");
  const RequestId request = submit_picture(*eve, 5);
  const auto first = wait_for_end(*eve);
  REQUIRE(first);

  REQUIRE(eve->submit(request, picture(5)));
  const auto again = wait_for_end(*eve);
  REQUIRE(again);
  CHECK(again->receipt.job == first->receipt.job);

  const auto refused_with = [&](const RequestId& id, const JobRequest& body) {
    (void)eve->submit(id, body);
    const auto refused = wait_for_refusal(*eve);
    return refused ? refused->code : Errc{};
  };
  CHECK(refused_with(request, picture(6)) == Errc::id_reused);
  const RandomBits bits{.first = 11, .second = 13};
  CHECK(refused_with(make_request_id(wall_time() - hours(49), bits), picture(5)) ==
        Errc::id_expired);
  CHECK(refused_with(make_request_id(wall_time() + seconds(600), bits), picture(5)) ==
        Errc::id_expired);
  const auto quota = eve->quota();
  REQUIRE(quota);
  CHECK(quota->balance.used == first->receipt.charged);
  CHECK(quota->balance.held == GpuTime{});
}

}  // namespace gpupool::test
