// Partitions, reservations and learned durations as a configuration says them.
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "config/reload.h"
#include "tests/config/reading.h"

using namespace gpupool;
namespace fs = std::filesystem;

TEST_CASE("The example reservation of gpupool.toml loads once it is uncommented") {
  const Config config = parsed(with_example("[[reservations]]"), "config/gpupool.toml");
  REQUIRE(config.reservations.size() == 1);
  const ReservationConfig& one = config.reservations.front();
  CHECK(one.name == "workshop");
  CHECK(one.partition == "default");
  CHECK(one.slots == 2);
  CHECK(one.users == std::vector<std::string>{"ada", "bob"});
  CHECK(one.from == Instant{1'796'112'000'000});
  CHECK(one.until - one.from == hours(4));
}

TEST_CASE("A reservation names a partition, users and times that can be") {
  const auto problem = [](const std::string& lines) {
    const auto config = parse_config(
        "[pool]\nroles = [\"broker\"]\n[broker]\n"
        "worker_address = \"127.0.0.1:0\"\n[[reservations]]\n" +
            lines,
        "gpupool.toml");
    return config ? std::string() : config.error().detail;
  };
  const std::string good = "name = \"w\"\nslots = 1\nusers = [\"ada\"]\n";
  CHECK(problem(good) == "");
  CHECK(problem("slots = 1\nusers = [\"ada\"]\n").find("name") != std::string::npos);
  CHECK(problem("name = \"default\"\nslots = 1\nusers = [\"ada\"]\n")
            .find("a name that no partition has") != std::string::npos);
  CHECK(problem("name = \"w\"\nslots = 1\n").find("at least one user") != std::string::npos);
  CHECK(problem(good + "partition = \"none\"\n").find("the partition of some app") !=
        std::string::npos);
  CHECK(problem(good + "users = [\"a b\"]\n") != "");
  CHECK(problem(good + "from = \"2026-12-01\"\n").find("without quotes") != std::string::npos);
  CHECK(problem(good + "from = 2026-12-01T08:00:00\n").find("with its time zone") !=
        std::string::npos);
  CHECK(problem(good + "until = 1960-12-01T08:00:00Z\n") != "");
  CHECK(problem(good + "from = 2026-12-01T08:00:00Z\nuntil = 2026-12-01T09:00:00+02:00\n")
            .find("a moment after") != std::string::npos);
  CHECK(problem(good + "[[reservations]]\n" + good).find("that no other entry has") !=
        std::string::npos);
}

TEST_CASE("Where all slots are known, an app's partition has one") {
  const std::string app = "[[apps]]\nname = \"n\"\nexecutor = \"noop\"\npartition = \"own\"\n";
  const auto alone = parse_config(app, "gpupool.toml");
  REQUIRE_FALSE(alone);
  CHECK(alone.error().detail.find("a partition of some [[worker.devices]]") != std::string::npos);
  CHECK(alone.error().want == 4);
  const auto with = parse_config("[[worker.devices]]\npartition = \"own\"\n" + app, "gpupool.toml");
  CHECK(with);
  CHECK(parse_config("[broker]\nworker_address = \"127.0.0.1:0\"\n" + app, "gpupool.toml"));
}

TEST_CASE("duration = \"auto\" is a property of an app, and another word is an error") {
  const std::string app = "[[apps]]\nname = \"n\"\nexecutor = \"noop\"\n";
  CHECK(parsed(app + "duration = \"auto\"\n").apps.front().automatic);
  CHECK_FALSE(parsed(app).apps.front().automatic);
  CHECK_FALSE(parse_config(app + "duration = \"long\"\n", "gpupool.toml"));
}

TEST_CASE("A reload takes reservations over, and whether an app's duration is learned") {
  const Config running = default_config();
  Config fresh = running;
  fresh.reservations = {{.name = "workshop", .slots = 1, .users = {"ada"}}};
  fresh.apps.front().automatic = true;
  const auto next = reload(running, fresh);
  REQUIRE(next);
  CHECK(next->changed == std::vector<std::string>{"apps.emoji.duration", "reservations"});
  CHECK(next->waiting.empty());
  CHECK(next->config.reservations.size() == 1);
  CHECK(next->config.apps.front().automatic);
  fresh.worker.devices.front().partition = "own";
  const auto later = reload(running, fresh);
  REQUIRE(later);
  CHECK(later->waiting == std::vector<std::string>{"worker.devices"});
}
