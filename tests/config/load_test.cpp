#include "config/load.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "config/limits.h"
#include "tests/config/reading.h"

using namespace gpupool;
namespace fs = std::filesystem;

namespace {

// A folder of its own for each test, removed at its end.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "gpupool-config-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const fs::path& path() const { return path_; }
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
    REQUIRE(chmod((path_ / name).c_str(), 0600) == 0);
    return path_ / name;
  }

 private:
  fs::path path_;
};

// The error of a text that must not load: "LINE: rest of the detail".
std::string error_of(const std::string& text, const fs::path& file = "gpupool.toml") {
  const auto config = parse_config(text, file);
  REQUIRE_FALSE(config);
  CHECK(config.error().code == Errc::config_invalid);
  const std::string start = file.string() + ":" + std::to_string(config.error().want) + ": ";
  REQUIRE(config.error().detail.starts_with(start));
  return std::to_string(config.error().want) + ": " + config.error().detail.substr(start.size());
}

using Catch::Matchers::StartsWith;

std::string noop_app(const std::string& line) {
  return "[[apps]]\nname = \"a\"\nexecutor = \"noop\"\n" + line + "\n";
}

// Every key but broker_address, at a value that is not its default.
constexpr auto every_key = R"(
[pool]
name = "lab"
roles = ["broker", "worker"]
[broker]
client_endpoint = "tcp://0.0.0.0:*"
worker_address = "[::1]:0"
ready_file = "ready"
queue_max = 7
client_grace_s = 0
rejoin_grace_s = 1.5
heartbeat_suspect_s = 4
heartbeat_loss_s = 9
[cluster]
ca_file = "ca"
certificate_file = "certificate"
key_file = "key"
[ledger]
journal = "postgres"
path = "/var/lib/ledger"
postgres = "host=db1 dbname=ledger"
postgres_password_file = "s"
postgres_schema = "lab"
[worker]
name = "box"
rank_address = "10.0.0.7"
folder = "store"
kill_grace_s = 3
slot_check_s = 4
heartbeat_interval_s = 1.001
heartbeat_stale_s = 6
result_keep_s = 60
result_bytes_max = 100000000
[[worker.devices]]
threads = 8
slots = 3
[window]
length_s = 3600
[identity]
audience = "lab"
anonymous = false
default_tier = "staff"
keys = [{kid = "k", secret_file = "s"}]
[daemon]
pid_file = "run/pool.pid"
drain_limit_s = 0
[log]
level = "debug"
json = true
[[tiers]]
name = "staff"
allowance_s = 0
longest_s = 5
rank = 3
jobs_max = 2
[[sizes]]
name = "whole"
slots = 3
factor = 5
[[apps]]
name = "dots"
partition = "p"
size = "whole"
spread = "device"
default_duration_s = 2
longest_s = 20
start_limit_s = 11
stall_s = 12
model = "weights"
tiers = ["staff"]
)";

class EveryKey {
 public:
  EveryKey() {
    folder_.write("s", std::string(32, 'x'));
    fs::create_directory(base() / "weights");
    config = parsed(every_key, base() / "lab.toml");
  }
  fs::path base() const { return folder_.path(); }
  Config config;

 private:
  Folder folder_;
};

}  // namespace

TEST_CASE("An empty file is the default configuration") {
  const Config config = parsed("");
  CHECK(config.pool == "gpupool");
  CHECK(config.tiers.size() == 3);
  CHECK(config.apps.at(0).model == "models/emoji");
}

TEST_CASE("gpupool.toml says what the defaults are, field by field") {
  const auto loaded = load_config("config/gpupool.toml");
  INFO((loaded ? "" : loaded.error().detail));
  REQUIRE(loaded);
  const Config& file = *loaded;
  const Config& code = default_config();

  CHECK(file.pool == code.pool);
  CHECK(file.broker_role == code.broker_role);
  CHECK(file.worker_role == code.worker_role);

  CHECK(file.broker.client_endpoint == code.broker.client_endpoint);
  CHECK(file.broker.worker_address == code.broker.worker_address);
  CHECK(file.broker.ready_file == code.broker.ready_file);
  CHECK(file.broker.queue_max == code.broker.queue_max);
  CHECK(file.broker.client_grace == code.broker.client_grace);
  CHECK(file.broker.rejoin_grace == code.broker.rejoin_grace);
  CHECK(file.broker.heartbeat_suspect == code.broker.heartbeat_suspect);
  CHECK(file.broker.heartbeat_loss == code.broker.heartbeat_loss);

  CHECK(file.cluster.ca_file == code.cluster.ca_file);
  CHECK(file.cluster.certificate_file == code.cluster.certificate_file);
  CHECK(file.cluster.key_file == code.cluster.key_file);
  CHECK(file.ledger.journal == code.ledger.journal);
  CHECK(file.ledger.path == code.ledger.path);
  CHECK(file.ledger.postgres == code.ledger.postgres);
  CHECK(file.ledger.postgres_password == code.ledger.postgres_password);
  CHECK(file.ledger.postgres_schema == code.ledger.postgres_schema);

  CHECK(file.worker.name == code.worker.name);
  CHECK(file.worker.broker_addresses == code.worker.broker_addresses);
  CHECK(file.worker.rank_address == code.worker.rank_address);
  CHECK(file.worker.folder == code.worker.folder);
  CHECK(file.worker.kill_grace == code.worker.kill_grace);
  CHECK(file.worker.slot_check == code.worker.slot_check);
  CHECK(file.worker.heartbeat_interval == code.worker.heartbeat_interval);
  CHECK(file.worker.heartbeat_stale == code.worker.heartbeat_stale);
  CHECK(file.worker.result_keep == code.worker.result_keep);
  CHECK(file.worker.result_bytes_max == code.worker.result_bytes_max);
  CHECK(file.worker.health_interval == code.worker.health_interval);
  CHECK(file.worker.overheat == code.worker.overheat);
  REQUIRE(file.worker.devices.size() == code.worker.devices.size());
  for (std::size_t i = 0; i < code.worker.devices.size(); ++i) {
    CHECK(file.worker.devices[i].kind == code.worker.devices[i].kind);
    CHECK(file.worker.devices[i].threads == code.worker.devices[i].threads);
    CHECK(file.worker.devices[i].slots == code.worker.devices[i].slots);
    CHECK(file.worker.devices[i].partition == code.worker.devices[i].partition);
    CHECK(file.worker.devices[i].precision == code.worker.devices[i].precision);
    CHECK(file.worker.devices[i].memory_bytes == code.worker.devices[i].memory_bytes);
    CHECK(file.worker.devices[i].cores == code.worker.devices[i].cores);
  }

  CHECK(file.window.kind == code.window.kind);
  CHECK(file.window.length == code.window.length);
  CHECK(file.window.starts == code.window.starts);
  CHECK(file.identity.keys.size() == code.identity.keys.size());
  CHECK(file.identity.audience == code.identity.audience);
  CHECK(file.identity.anonymous == code.identity.anonymous);
  CHECK(file.identity.anonymous_tier == code.identity.anonymous_tier);
  CHECK(file.identity.default_tier == code.identity.default_tier);
  CHECK(file.daemon.pid_file == code.daemon.pid_file);
  CHECK(file.daemon.drain_limit == code.daemon.drain_limit);
  CHECK(file.log.level == code.log.level);
  CHECK(file.log.json == code.log.json);

  REQUIRE(file.tiers.size() == code.tiers.size());
  for (std::size_t i = 0; i < code.tiers.size(); ++i) {
    CHECK(file.tiers[i].name == code.tiers[i].name);
    CHECK(file.tiers[i].allowance == code.tiers[i].allowance);
    CHECK(file.tiers[i].longest == code.tiers[i].longest);
    CHECK(file.tiers[i].rank == code.tiers[i].rank);
    CHECK(file.tiers[i].jobs_max == code.tiers[i].jobs_max);
  }
  REQUIRE(file.sizes.size() == code.sizes.size());
  for (std::size_t i = 0; i < code.sizes.size(); ++i) {
    CHECK(file.sizes[i].name == code.sizes[i].name);
    CHECK(file.sizes[i].slots == code.sizes[i].slots);
    CHECK(file.sizes[i].factor == code.sizes[i].factor);
  }
  REQUIRE(file.apps.size() == code.apps.size());
  for (std::size_t i = 0; i < code.apps.size(); ++i) {
    CHECK(file.apps[i].name == code.apps[i].name);
    CHECK(file.apps[i].executor == code.apps[i].executor);
    CHECK(file.apps[i].partition == code.apps[i].partition);
    CHECK(file.apps[i].size == code.apps[i].size);
    CHECK(file.apps[i].spread == code.apps[i].spread);
    CHECK(file.apps[i].automatic == code.apps[i].automatic);
    CHECK(file.apps[i].default_duration == code.apps[i].default_duration);
    CHECK(file.apps[i].longest == code.apps[i].longest);
    CHECK(file.apps[i].start_limit == code.apps[i].start_limit);
    CHECK(file.apps[i].stall == code.apps[i].stall);
    CHECK(file.apps[i].model == code.apps[i].model);
    CHECK(file.apps[i].tiers == code.apps[i].tiers);
    CHECK(file.apps[i].memory_bytes == code.apps[i].memory_bytes);
  }
}

TEST_CASE("gpupool.toml shows every key that the loader knows, with a comment") {
  // A key stands in the text as "key =" below the line of its table, perhaps as an example.
  std::set<std::string> shown;
  std::string table;
  std::istringstream text(text_of("config/gpupool.toml"));
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("# ")) line = line.substr(2);
    if (line.starts_with("[")) {
      table = line.substr(line.find_first_not_of('['));
      table = table.substr(0, table.find(']'));
      shown.insert(table.substr(0, table.find('.')));
      shown.insert(table);
    } else if (const auto equals = line.find(" = "); equals != std::string::npos) {
      const bool first = shown.insert(table + "." + line.substr(0, equals)).second;
      const bool explained = line.find("  # ") != std::string::npos;
      INFO(line);
      CHECK((explained || !first || line.starts_with("name = ")));
    }
  }
  const auto keys = config_keys();
  CHECK(keys.size() > 50);
  for (const auto& key : keys) {
    INFO(key);
    CHECK(shown.contains(key));
  }
}

TEST_CASE("The example key of gpupool.toml loads once it is uncommented") {
  const Folder folder;
  folder.write("main.secret", std::string(64, 'a') + "\n");
  std::string text = text_of("config/gpupool.toml");
  for (const std::string line : {"[[identity.keys]]", "kid =", "algorithm =", "secret_file ="}) {
    const auto at = text.find("# " + line);
    REQUIRE(at != std::string::npos);
    text.erase(at, 2);
  }
  text.replace(text.find("../models/emoji"), 15, fs::absolute("models/emoji").string());
  const Config config = parsed(text, folder.path() / "gpupool.toml");
  REQUIRE(config.identity.keys.size() == 1);
  CHECK(config.identity.keys[0].kid == "main");
  CHECK(config.identity.keys[0].algorithm == "HS256");
  CHECK(config.identity.keys[0].secret == std::string(64, 'a'));
}

TEST_CASE_METHOD(EveryKey, "Every key of the process reaches its field") {
  CHECK(config.pool == "lab");
  CHECK(config.broker_role);
  CHECK(config.worker_role);
  CHECK(config.broker.client_endpoint == "tcp://0.0.0.0:*");
  CHECK(config.broker.worker_address == "[::1]:0");
  CHECK(config.broker.heartbeat_suspect == seconds(4));
  CHECK(config.cluster.ca_file == (base() / "ca").string());
  CHECK(config.cluster.certificate_file == (base() / "certificate").string());
  CHECK(config.cluster.key_file == (base() / "key").string());
  CHECK(config.worker.rank_address == "10.0.0.7");
  CHECK(config.broker.ready_file == base() / "ready");
  CHECK(config.broker.queue_max == 7);
  CHECK(config.broker.client_grace == seconds(0));
  CHECK(config.broker.rejoin_grace == milliseconds(1500));
  CHECK(config.broker.heartbeat_loss == seconds(9));
  CHECK(config.ledger.journal == JournalKind::postgres);
  CHECK(config.ledger.path == "/var/lib/ledger");
  CHECK(config.ledger.postgres == "host=db1 dbname=ledger");
  CHECK_FALSE(config.ledger.postgres_password.empty());
  CHECK(config.ledger.postgres_schema == "lab");
  CHECK(config.worker.name == "box");
  CHECK(config.worker.folder == base() / "store");
  CHECK(config.worker.kill_grace == seconds(3));
  CHECK(config.worker.slot_check == seconds(4));
  CHECK(config.worker.heartbeat_interval == milliseconds(1001));
  CHECK(config.worker.heartbeat_stale == seconds(6));
  CHECK(config.worker.result_keep == seconds(60));
  CHECK(config.worker.result_bytes_max == 100'000'000);
}

TEST_CASE_METHOD(EveryKey, "Every key of the pool reaches its field") {
  REQUIRE(config.worker.devices.size() == 1);
  CHECK(config.worker.devices[0].threads == 8);
  CHECK(config.worker.devices[0].slots == 3);
  CHECK(config.window.length == hours(1));
  CHECK(config.identity.audience == "lab");
  CHECK_FALSE(config.identity.anonymous);
  CHECK(config.identity.default_tier == "staff");
  REQUIRE(config.identity.keys.size() == 1);
  CHECK(config.identity.keys[0].kid == "k");
  CHECK(config.identity.keys[0].secret == std::string(32, 'x'));
  CHECK(config.daemon.pid_file == base() / "run/pool.pid");
  CHECK(config.daemon.drain_limit == Duration{});
  CHECK(config.log.level == "debug");
  CHECK(config.log.json);
  REQUIRE(config.tiers.size() == 1);
  CHECK(config.tiers[0].allowance == GpuTime{0});
  CHECK(config.tiers[0].longest == GpuTime{5000});
  CHECK(config.tiers[0].rank == 3);
  CHECK(config.tiers[0].jobs_max == 2);
  REQUIRE(config.sizes.size() == 1);
  CHECK(config.sizes[0].name == "whole");
  CHECK(config.sizes[0].slots == 3);
  CHECK(config.sizes[0].factor == 5);
  REQUIRE(config.apps.size() == 1);
  CHECK(config.apps[0].partition == "p");
  CHECK(config.apps[0].size == "whole");
  CHECK(config.apps[0].spread == Spread::device);
  CHECK(config.apps[0].default_duration == seconds(2));
  CHECK(config.apps[0].longest == seconds(20));
  CHECK(config.apps[0].start_limit == seconds(11));
  CHECK(config.apps[0].stall == seconds(12));
  CHECK(config.apps[0].model == base() / "weights");
  CHECK(config.apps[0].tiers == std::vector<std::string>{"staff"});
}

TEST_CASE("A process may be a broker or a worker alone") {
  const Config broker =
      parsed("[pool]\nroles = [\"broker\"]\n[broker]\nworker_address = \"127.0.0.1:7401\"");
  CHECK(broker.broker_role);
  CHECK_FALSE(broker.worker_role);
  const Config worker =
      parsed("[pool]\nroles = [\"worker\"]\n[worker]\nbroker_address = \"127.0.0.1:7401\"");
  CHECK_FALSE(worker.broker_role);
  CHECK(worker.worker_role);
}

TEST_CASE("An error names its line, its key, what was expected and what stands there") {
  CHECK(error_of("[[tiers]]\nname = \"a\"\n\nallowance_s = \"2 h\"\nlongest_s = 1\n") ==
        "4: tiers[0].allowance_s: expected seconds from 0 to 663552000, at most to the "
        "millisecond, found the text \"2 h\"");
  CHECK(error_of("[log]\ncolour = true\n") ==
        "2: log.colour: expected one of the keys json, level, found an unknown key");
  CHECK_THAT(error_of("[pool]\nname = \"a\"\nname = \"b\"\n"),
             StartsWith("3: expected TOML, found"));
}

TEST_CASE("Of several errors the first line is told, whatever the order of reading") {
  CHECK_THAT(error_of("[log]\nlevel = 1\n[pool]\nname = 2\n[[tiers]]\n"),
             StartsWith("2: log.level"));
  CHECK_THAT(error_of(noop_app("size = \"x\"") + "[[tiers]]\n"), StartsWith("4: apps[0].size"));
}

TEST_CASE("Unknown keys and tables, wrong types and missing keys are errors") {
  CHECK_THAT(error_of("[brocker]\n"), StartsWith("1: brocker: expected one of the keys apps, "));
  CHECK_THAT(error_of("pool = 3\n"), StartsWith("1: pool: expected a table, found 3"));
  CHECK_THAT(error_of("[tiers]\nname = 1\n"), StartsWith("1: tiers: expected 1 to 256 tables"));
  CHECK_THAT(error_of("tiers = []\n"), StartsWith("1: tiers: expected 1 to 256 tables"));
  CHECK_THAT(error_of("tiers = [1]\n"), StartsWith("1: tiers[0]: expected a table, found 1"));
  CHECK_THAT(error_of("\n[[sizes]]\nname = \"a\"\nfactor = 1\n"),
             StartsWith("2: sizes[0].slots: expected a whole number from 1 to 256, found no such"));
  CHECK_THAT(error_of("[log]\njson = 1\n"), StartsWith("2: log.json: expected true or false"));
  CHECK_THAT(error_of("[broker]\nqueue_max = 1.5\n"),
             StartsWith("2: broker.queue_max: expected a"));
  CHECK_THAT(error_of("[pool]\nroles = \"broker\"\n"),
             StartsWith("2: pool.roles: expected a list"));
  CHECK_THAT(error_of("[ledger]\npath = 1979-05-27\n"),
             StartsWith("2: ledger.path: expected a path"));
}

TEST_CASE("Times are whole milliseconds within the longest that the pool counts") {
  CHECK(parsed("[window]\nlength_s = 0.001\n").window.length == milliseconds(1));
  CHECK(parsed("[window]\nlength_s = 2591999.999\n").window.length ==
        milliseconds(limits::duration_ms_max - 1));
  for (const std::string value : {"0", "-1", "0.0005", "2592000.001", "nan", "inf", "-inf", "1e300",
                                  "9223372036854775807", "true"}) {
    INFO(value);
    CHECK_THAT(error_of("[window]\nlength_s = " + value + "\n"),
               StartsWith("2: window.length_s: expected seconds from 0.001 to 2592000, "));
  }
}

TEST_CASE("Windows are rolling, or fixed at times of day in UTC that meet every day") {
  const auto fixed = [](const std::string& rest) {
    return "[window]\nkind = \"fixed\"\n" + rest + "\n";
  };
  const WindowConfig window = parsed(fixed("length_s = 28800\nstarts = \"06:30\"")).window;
  CHECK(window.kind == WindowKind::fixed);
  CHECK(window.length == hours(8));
  CHECK(window.starts == seconds(6 * 3600 + 30 * 60));
  CHECK(parsed(fixed("length_s = 604800\nstarts = \"23:59\"")).window.length == hours(168));
  CHECK(parsed(fixed("")).window.length == hours(24));
  CHECK(parsed("[window]\nkind = \"rolling\"\n").window.kind == WindowKind::rolling);
  for (const char* length : {"18000", "86401", "129600"})
    CHECK_THAT(error_of(fixed("length_s = " + std::string(length))),
               StartsWith("3: window.length_s: expected of fixed windows, a part of 86400 s"));
  for (const char* starts : {"24:00", "12:60", "1:00", "12.00", "12:00Z", "ab:cd", ""})
    CHECK_THAT(error_of(fixed("starts = \"" + std::string(starts) + "\"")),
               StartsWith("3: window.starts: expected a time of day in UTC"));
  CHECK_THAT(error_of("[window]\nkind = \"weekly\"\n"),
             StartsWith("2: window.kind: expected \"rolling\" or \"fixed\""));
  CHECK_THAT(error_of("[window]\nstarts = \"06:00\"\n"),
             StartsWith("2: window.starts: expected nothing, as rolling windows start"));
}

TEST_CASE("Values that cannot work are errors") {
  const auto rejects = [](const std::string& text, const std::string& start) {
    INFO(text);
    CHECK_THAT(error_of(text), StartsWith(start));
  };
  rejects("[[worker.devices]]\nthreads = 0\n", "2: worker.devices[0].threads");
  rejects("[[worker.devices]]\nslots = -1\n", "2: worker.devices[0].slots");
  rejects("[[worker.devices]]\nslots = 200\n[[worker.devices]]\nslots = 200\n",
          "1: worker.devices: expected at most 256 slots on a node, found 400");
  rejects("[[worker.devices]]\nkind = \"tpu\"\n", "2: worker.devices[0].kind");
  rejects("[pool]\nname = \"\"\n", "2: pool.name");
  rejects("[pool]\nname = \"a b\"\n", "2: pool.name");
  rejects("[pool]\nname = \"-a\"\n", "2: pool.name");
  rejects("[pool]\nname = \"" + std::string(65, 'a') + "\"\n", "2: pool.name");
  rejects("[pool]\nroles = []\n", "2: pool.roles: expected at least one role");
  rejects("[pool]\nroles = [\"broker\", \"broker\"]\n", "2: pool.roles: expected each entry once");
  rejects("[pool]\nroles = [\"king\"]\n", "2: pool.roles: expected \"broker\" or \"worker\"");
  rejects("[pool]\nroles = [\"broker\"]\n", "2: broker.worker_address: expected an address");
  rejects("[pool]\nroles = [\"worker\"]\n", "2: worker.broker_address: expected the broker's");
  rejects("[worker]\nbroker_address = \"127.0.0.1:1\"\n",
          "2: worker.broker_address: expected noth");
  rejects("[broker]\nclient_endpoint = \"127.0.0.1:1\"\n", "2: broker.client_endpoint");
  rejects("[broker]\nclient_endpoint = \"ipc://pool.sock\"\n", "2: broker.client_endpoint");
  rejects("[broker]\nclient_endpoint = \"ipc:///run/\"\n", "2: broker.client_endpoint");
  rejects("[broker]\nclient_endpoint = \"ipc:///" + std::string(107, 'x') + "\"\n",
          "2: broker.client_endpoint");
  rejects("[broker]\nclient_endpoint = \"tcp://a:65536\"\n", "2: broker.client_endpoint");
  rejects("[broker]\nworker_address = \"10.0.0.1:7401\"\n", "2: broker.worker_address");
  rejects("[broker]\nworker_address = \"127.0.0.1\"\n", "2: broker.worker_address");
  rejects("[broker]\nworker_address = \"127.example.org:7401\"\n", "2: broker.worker_address");
  rejects("[broker]\nworker_address = \"broker.lab:7401\"\n", "2: broker.worker_address");
  rejects("[broker]\nheartbeat_suspect_s = 6\n", "2: broker.heartbeat_suspect_s: expected at most");
  rejects("[cluster]\nca_file = \"a\"\nkey_file = \"b\"\n",
          "1: cluster.certificate_file: expected all three files");
  rejects("[worker]\nrank_address = \"a b\"\n", "2: worker.rank_address");
  for (const char* addresses : {"127.0.0.1:1,", "127.0.0.1:1,10.0.0.1:1", "a", "127.0.0.1:0"})
    rejects("[pool]\nroles = [\"worker\"]\n[worker]\nbroker_address = \"" + std::string(addresses) +
                "\"\n",
            "4: worker.broker_address");
  rejects("[pool]\nroles = [\"worker\"]\n[worker]\nbroker_address = \"127.0.0.1:0\"\n",
          "4: worker.broker_address");
  rejects("[broker]\nqueue_max = 1000001\n", "2: broker.queue_max");
  rejects("[ledger]\npath = \"\"\n", "2: ledger.path: expected a file");
  rejects("[ledger]\njournal = \"oracle\"\n",
          "2: ledger.journal: expected \"sqlite\" or \"postgres\", found the text \"oracle\"");
  rejects("[ledger]\njournal = \"postgres\"\n",
          "1: ledger.postgres: expected a connection string of libpq");
  rejects("[ledger]\npostgres_password_file = \"missing\"\n",
          "2: ledger.postgres_password_file: expected a file with the password of the role");
  for (const char* schema : {"", "Ledger", "pg_ledger", "1st", "a-b", "a\\\"b"})
    rejects("[ledger]\npostgres_schema = \"" + std::string(schema) + "\"\n",
            "2: ledger.postgres_schema: expected 1 to 63 small letters");
  rejects("[worker]\nfolder = \"\"\n", "2: worker.folder: expected a folder");
  rejects("[worker]\nheartbeat_stale_s = 5\n", "2: worker.heartbeat_stale_s: expected less than");
  rejects("[worker]\nheartbeat_interval_s = 2\n", "2: worker.heartbeat_interval_s: expected less");
  rejects("[worker]\nresult_bytes_max = 1000\n", "2: worker.result_bytes_max");
  rejects("[log]\nlevel = \"loud\"\n", "2: log.level");
  rejects("[[tiers]]\nname = \"free\"\nallowance_s = 1\nlongest_s = 0\n", "4: tiers[0].longest_s");
  rejects("[[tiers]]\nname = \"free\"\nallowance_s = -1\nlongest_s = 1\n",
          "3: tiers[0].allowance_s");
}

TEST_CASE("Names stand once, and names of other entries must exist") {
  const std::string tier = "[[tiers]]\nname = \"free\"\nallowance_s = 1\nlongest_s = 1\n";
  CHECK_THAT(error_of("[identity]\nanonymous = false\n" + tier + tier),
             StartsWith("8: tiers[1].name: expected a name that no other entry has"));
  const std::string size = "[[sizes]]\nname = \"large\"\nslots = 1\nfactor = 1\n";
  CHECK_THAT(error_of(size + size), StartsWith("6: sizes[1].name"));
  CHECK_THAT(error_of(noop_app("") + noop_app("")), StartsWith("6: apps[1].name"));
  CHECK_THAT(error_of(tier), StartsWith("4: identity.anonymous_tier: expected the name of a tier"));
  CHECK_THAT(error_of("[identity]\ndefault_tier = \"gold\"\n"),
             StartsWith("2: identity.default_tier: expected the name of a tier, found \"gold\""));
  CHECK_THAT(error_of(noop_app("size = \"huge\"")),
             StartsWith("4: apps[0].size: expected the name of a size, found \"huge\""));
  CHECK_THAT(error_of(noop_app("tiers = [\"gold\"]")),
             StartsWith("4: apps[0].tiers: expected names of tiers, found \"gold\""));
  CHECK_THAT(error_of("[[sizes]]\nname = \"small\"\nslots = 1\nfactor = 1\n"),
             StartsWith("4: apps.size: expected the name of a size, found \"large\""));
}

TEST_CASE("An app's times must agree with each other") {
  CHECK_THAT(
      error_of(noop_app("default_duration_s = 301")),
      StartsWith("4: apps[0].default_duration_s: expected at most longest_s, which is 300 s, "
                 "found 301 s"));
  CHECK_THAT(error_of(noop_app("longest_s = 2592000")),
             StartsWith("4: apps[0].longest_s: expected with start limit, kill grace and slot "
                        "check at most 2592000 s, found 2592037 s"));
  CHECK_THAT(error_of(noop_app("longest_s = 0")), StartsWith("4: apps[0].longest_s"));
  CHECK_THAT(error_of("[[apps]]\nname = \"a\"\nexecutor = \"magic\"\nmodel = \"models/emoji\"\n"),
             StartsWith("3: apps[0].executor: expected \"diffusion\", \"command\", \"external\" or "
                        "\"noop\""));
  CHECK_THAT(error_of("[[apps]]\nname = \"a\"\nmodel = \"models/emoji\"\nstall_s = 301\n"),
             StartsWith("4: apps[0].stall_s: expected at most longest_s"));
  CHECK_THAT(error_of("[[apps]]\nname = \"a\"\nmodel = \"nowhere\"\n"),
             StartsWith("3: apps[0].model: expected the folder of the weights, found \"nowhere\""));
}

TEST_CASE("A secret must be long enough, readable, and nobody else's") {
  const Folder folder;
  const auto file = folder.path() / "gpupool.toml";
  const std::string text = "[[identity.keys]]\nkid = \"k\"\nsecret_file = \"s\"\n";
  CHECK_THAT(error_of(text, file), StartsWith("3: identity.keys[0].secret_file: expected 32 to"));

  folder.write("s", std::string(31, 'x') + "\n");
  CHECK_THAT(error_of(text, file), Catch::Matchers::EndsWith("s: 31 bytes"));
  folder.write("s", std::string(4097, 'x'));
  CHECK_THAT(error_of(text, file), Catch::Matchers::EndsWith("s: 4097 bytes"));
  const auto secret = folder.write("s", std::string(32, 'x') + "\n");
  CHECK(parsed(text, file).identity.keys.at(0).secret == std::string(32, 'x'));
  for (const mode_t mode : {0640U, 0604U, 0620U}) {
    REQUIRE(chmod(secret.c_str(), mode) == 0);
    CHECK_THAT(error_of(text, file), Catch::Matchers::Contains("open to other users"));
  }
  REQUIRE(chmod(secret.c_str(), 0600) == 0);
  CHECK_THAT(error_of(text + text, file), StartsWith("5: identity.keys[1].kid: expected a kid"));
  CHECK_THAT(error_of(text + "algorithm = \"none\"\n", file),
             StartsWith("4: identity.keys[0].alg"));
  fs::remove(secret);
  fs::create_directory(secret);
  CHECK_THAT(error_of(text, file), Catch::Matchers::Contains("open to other users") ||
                                       Catch::Matchers::Contains("not a regular file"));
}

TEST_CASE("A file that is missing, too long or no file says so") {
  const Folder folder;
  const auto missing = load_config(folder.path() / "none.toml");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == Errc::file_unreadable);
  CHECK_THAT(missing.error().detail, Catch::Matchers::EndsWith("No such file or directory"));
  const auto long_file = load_config(folder.write("long.toml", std::string(1024 * 1024 + 1, '#')));
  REQUIRE_FALSE(long_file);
  CHECK_THAT(long_file.error().detail, Catch::Matchers::EndsWith("longer than 1048576 bytes"));
  CHECK_FALSE(load_config(folder.path()));
  CHECK(load_config(folder.write("empty.toml", "")));
}
