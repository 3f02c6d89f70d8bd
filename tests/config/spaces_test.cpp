// Apps of callers' own processes, and the Spaces that use them, as a configuration says them.
#include <catch2/catch.hpp>
#include <filesystem>

#include "config/reload.h"
#include "tests/config/reading.h"

using namespace gpupool;

namespace {

const std::string own = "[[apps]]\nname = \"own\"\nexecutor = \"external\"\n";
const std::string space =
    "[[spaces]]\nname = \"demo\"\nprefix = \"/s/0123456789abcdef\"\napp = \"own\"\n";

std::string problem(const std::string& text) {
  const auto config = parse_config(text, "gpupool.toml");
  return config ? std::string() : config.error().detail;
}
bool has(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("An external app waits 5 s for its process unless the file says another time") {
  const Config config = parsed(own);
  CHECK(config.apps.front().executor == ExecutorKind::external);
  CHECK(config.apps.front().start_limit == seconds(5));
  CHECK(parsed(own + "start_limit_s = 9\n").apps.front().start_limit == seconds(9));
}

TEST_CASE("The example space of gpupool.toml loads once it is uncommented, with its app") {
  std::string text = with_example("[[spaces]]");
  text +=
      "[[worker.devices]]\npartition = \"demo\"\n"
      "[[apps]]\nname = \"demo\"\nexecutor = \"external\"\npartition = \"demo\"\n";
  const Config config = parsed(text, "config/gpupool.toml");
  REQUIRE(config.spaces.size() == 1);
  CHECK(config.spaces.front().name == "demo");
  CHECK(config.spaces.front().prefix == "/s/5f0c2a9d7be1a3c8");
  CHECK(config.http.endpoint.empty());
}

TEST_CASE("Pictures and callers' processes have slots of their own") {
  const std::string picture = "[[apps]]\nname = \"p\"\nmodel = \"/\"\n";
  CHECK(has(problem(own + picture), "another one than that of app own"));
  CHECK(has(problem(picture + own), "another one than that of app p"));
  CHECK(problem("[[worker.devices]]\n[[worker.devices]]\npartition = \"own\"\n" + picture + own +
                "partition = \"own\"\n") == "");
}

TEST_CASE("A caller's process is on one node") {
  CHECK(has(problem(own + "spread = \"nodes\"\n"), "a caller's process is on one node"));
  CHECK(problem(own + "spread = \"device\"\n") == "");
}

TEST_CASE("A space names an external app of this node, and a prefix that nobody guesses") {
  CHECK(problem(own + space) == "");
  CHECK(has(problem("[[apps]]\nname = \"own\"\nexecutor = \"noop\"\n" + space),
            "an app with executor = \"external\""));
  CHECK(has(problem(space), "an app with executor = \"external\""));
  for (const char* prefix : {"", "/short", "s/0123456789abcdef", "/s/0123456789abcdef/",
                             "/s/0123456789 abcdef", "/s//0123456789abcdef"})
    CHECK(
        has(problem(own + "[[spaces]]\nname = \"d\"\napp = \"own\"\nprefix = \"" + prefix + "\"\n"),
            "a path of 16 to 128"));
  CHECK(has(problem("[worker]\nbroker_address = \"127.0.0.1:1\"\n[pool]\nroles = [\"worker\"]\n"
                    "[[worker.devices]]\npartition = \"mine\"\n" +
                    own + space),
            "of this node's [[worker.devices]]"));
}

TEST_CASE("No two spaces have one name, nor a prefix that the other's begins with") {
  CHECK(has(problem(own + space + space), "that no other entry has"));
  CHECK(has(problem(own + space +
                    "[[spaces]]\nname = \"b\"\nprefix = \"/s/0123456789abcdef1\"\napp = "
                    "\"own\"\n"),
            "nor the other way round"));
}

TEST_CASE("The device API is a node's, at an address") {
  CHECK(parsed("[http]\nendpoint = \"127.0.0.1:0\"\n").http.is_on());
  CHECK(has(problem("[http]\nendpoint = \"localhost\"\n"), "such as \"127.0.0.1:7480\""));
  CHECK(has(problem("[pool]\nroles = [\"broker\"]\n[broker]\nworker_address = \"127.0.0.1:0\"\n"
                    "[http]\nendpoint = \"127.0.0.1:0\"\n"),
            "no slots of its own"));
}

TEST_CASE("A reload says that spaces and the device API's address wait for a restart") {
  Config running = default_config();
  running.apps.push_back({.name = "own", .executor = ExecutorKind::external, .partition = "own"});
  Config fresh = running;
  fresh.http.endpoint = "127.0.0.1:7480";
  fresh.spaces = {{.name = "demo", .prefix = "/s/0123456789abcdef", .app = "own"}};
  const auto next = reload(running, fresh);
  REQUIRE(next);
  CHECK(next->waiting == std::vector<std::string>{"http.endpoint", "spaces"});
}
