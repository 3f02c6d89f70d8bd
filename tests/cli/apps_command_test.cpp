// A copy of an app: all that makes it what it is, and nothing that is secret.
#include "cli/apps_command.h"

#include <catch2/catch.hpp>

#include "config/load.h"

namespace gpupool {
namespace {

const std::string before =
    "[pool]\nroles = [\"broker\"]\n[broker]\nworker_address = \"127.0.0.1:0\"\n";

AppConfig rich_app() {
  AppConfig app{.name = "old",
                .executor = ExecutorKind::command,
                .size = "xlarge",
                .spread = Spread::device,
                .default_duration = milliseconds(1'500),
                .longest = seconds(90),
                .tiers = {"pro"}};
  CommandConfig& command = app.command;
  command.words = {"/opt/x y", "--a={a}", "{b}", "{c}", "\"{d}\"\\"};
  command.parameters = {
      {.name = "a",
       .kind = ParameterKind::integer,
       .has_default = true,
       .default_value = "3",
       .least = -5,
       .most = 9},
      {.name = "b", .kind = ParameterKind::number, .low = 0.1, .high = 1e6},
      {.name = "c", .bytes_max = 7, .pattern = "[a-z\\.]+", .about = "what \"c\" is"},
      {.name = "d", .kind = ParameterKind::boolean}};
  command.environment = {"A=b c", "Q=\"\\\n"};
  command.secrets = {{.name = "KEY", .value = "hush"}};
  command.network = true;
  command.read_only = {"/srv/models"};
  command.processes_max = 9;
  command.retries = 1;
  return app;
}

}  // namespace

TEST_CASE("The tables of a copy read as the app that it is of, without its secrets") {
  const std::string tables = tables_of(rich_app(), "new");
  CHECK(tables.find("hush") == std::string::npos);
  const auto config = parse_config(before + tables, "gpupool.toml");
  INFO(tables << (config ? "" : config.error().detail));
  REQUIRE(config);
  const AppConfig& copy = *config->app("new");
  const AppConfig app = rich_app();
  CHECK(copy.size == app.size);
  CHECK(copy.default_duration == app.default_duration);
  CHECK(copy.longest == app.longest);
  CHECK(copy.tiers == app.tiers);
  CHECK(copy.command.words == app.command.words);
  CHECK(copy.command.environment == app.command.environment);
  CHECK(copy.command.read_only == app.command.read_only);
  CHECK(copy.command.network);
  CHECK(copy.command.processes_max == 9);
  CHECK(copy.command.retries == 1);
  REQUIRE(copy.command.secrets.size() == 1);
  CHECK(copy.command.secrets[0].name == "KEY");
  CHECK(copy.command.secrets[0].value.empty());
  REQUIRE(copy.command.parameters.size() == 4);
  CHECK(copy.command.parameters[0].least == -5);
  CHECK(copy.command.parameters[0].default_value == "3");
  CHECK(copy.command.parameters[1].low == 0.1);
  CHECK(copy.command.parameters[1].high == 1e6);
  CHECK(copy.command.parameters[2].pattern == "[a-z\\.]+");
  CHECK(copy.command.parameters[2].about == "what \"c\" is");
  CHECK(copy.command.parameters[3].kind == ParameterKind::boolean);
}

}  // namespace gpupool
