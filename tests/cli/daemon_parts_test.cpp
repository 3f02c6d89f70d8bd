// The manners of gpupoold, part by part: its log's lines, its pid and socket files, its advice, and
// what --check-config finds.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/advice.h"
#include "cli/build.h"
#include "cli/check_config.h"
#include "cli/logging.h"
#include "cli/pid_file.h"
#include "cli/socket_file.h"

using namespace gpupool;
namespace fs = std::filesystem;

namespace {

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "gpupool-daemon.XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path path;
};

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

FileDescriptor socket_at(const fs::path& path) {
  FileDescriptor made{::socket(AF_UNIX, SOCK_STREAM, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(made.get(), 1) == 0);
  return made;
}

LogLine held() {
  return {.level = LogLevel::info,
          .event = "held",
          .text = "60.0 s held\nfor \"a\" \x01 app",
          .job = {17},
          .account = {"user:ada"},
          .request = {0x0190a6c12f3a7b10U, 0x8c4d5e6f70819293U}};
}

}  // namespace

TEST_CASE("A line of the log in JSON is valid whatever the text holds") {
  LogLine line = held();
  line.text += "\xff\xfe";
  const auto json = nlohmann::json::parse("{" + json_members_of(line) + "}");
  CHECK(json["event"] == "held");
  CHECK(json["job"] == 17);
  CHECK(json["account"] == "user:ada");
  CHECK(json["request"] == "0190a6c1-2f3a-7b10-8c4d-5e6f70819293");
  CHECK_FALSE(json.contains("node"));
  CHECK(json["text"].get<std::string>().starts_with("60.0 s held\nfor \"a\" \x01 app"));
}

TEST_CASE("A line of the log as text is one line with its names in front") {
  CHECK(text_of(held()) ==
        "held job=17 account=user:ada request=0190a6c1-2f3a-7b10-8c4d-5e6f70819293: "
        "60.0 s held?for \"a\" ? app");
}

TEST_CASE("A pid file holds the process and is gone at its end") {
  const Folder folder;
  const auto path = folder.path / "pool.pid";
  std::ofstream(path) << "999999999\nof a dead process\n";
  {
    const auto taken = PidFile::take(path.string());
    REQUIRE(taken);
    CHECK(content_of(path) == std::to_string(getpid()) + "\n");
    const auto again = PidFile::take(path.string());
    REQUIRE_FALSE(again);
    CHECK(again.error().code == Errc::journal_locked);
    CHECK(again.error().detail.ends_with("the running process " + std::to_string(getpid())));
    CHECK(fs::exists(path));
  }
  CHECK_FALSE(fs::exists(path));
  const auto nowhere = PidFile::take((folder.path / "missing" / "pid").string());
  REQUIRE_FALSE(nowhere);
  CHECK(nowhere.error().code == Errc::file_unwritable);
}

TEST_CASE("A dead socket file is removed, and neither a living one nor another file is") {
  const Folder folder;
  const auto path = folder.path / "s";
  const std::string endpoint = "ipc://" + path.string();
  CHECK(clear_socket_file(endpoint));
  CHECK(clear_socket_file("tcp://127.0.0.1:1"));
  {
    const FileDescriptor living = socket_at(path);
    const auto refused = clear_socket_file(endpoint);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().want == EADDRINUSE);
    CHECK(fs::exists(path));
  }
  CHECK(clear_socket_file(endpoint));
  CHECK_FALSE(fs::exists(path));
  std::ofstream(path) << "precious";
  CHECK_FALSE(clear_socket_file(endpoint));
  CHECK(content_of(path) == "precious");
}

TEST_CASE("A failed start comes with what to do about it") {
  Config config = default_config();
  config.ledger.path = "/srv/pool.sqlite";
  config.worker.folder = "/srv/worker";
  const auto text = [&](Errc code, const std::string& detail, std::int64_t want = 0) {
    return cannot_start_text({.code = code, .want = want, .detail = detail}, config);
  };
  CHECK(
      text(Errc::journal_locked, "/srv/pool.sqlite is in use") ==
      "cannot start: /srv/pool.sqlite is in use; stop that one, or give this one a ledger.path of "
      "its own");
  CHECK(text(Errc::journal_locked, "/srv/worker is in use by another worker")
            .ends_with("stop that one, or give this one a worker.folder of its own"));
  config.daemon.pid_file = "/srv/worker/pool.pid";
  CHECK(text(Errc::journal_locked, "the pid file /srv/worker/pool.pid is held by process 7")
            .ends_with("stop that one, or give this one a daemon.pid_file of its own"));
  CHECK(text(Errc::file_unwritable, "the pid file /srv/worker/pool.pid: no")
            .ends_with("or name another daemon.pid_file"));
  config.broker.ready_file = "/run/ready";
  CHECK(text(Errc::file_unwritable, "the ready file /run/ready: no")
            .ends_with("or name another broker.ready_file"));
  CHECK(text(Errc::file_malformed, "/srv/pool.sqlite is none")
            .ends_with("another one as ledger.path"));
  CHECK(text(Errc::file_unwritable, "/srv/pool.sqlite: no").ends_with("name another ledger.path"));
  CHECK(text(Errc::system_failed, "binding tcp://127.0.0.1:7400: taken", EADDRINUSE)
            .ends_with("stop what listens there, or name another broker.client_endpoint"));
  CHECK(text(Errc::system_failed, "binding tcp://127.0.0.1:7400: No such device", ENODEV)
            .ends_with("such as 127.0.0.1, as broker.client_endpoint"));
  CHECK(text(Errc::clock_jumped, "start once with --accept-clock", 5)
            .starts_with("cannot start: clock jumped: start once"));
}

TEST_CASE("A database that keeps a pool from starting comes with what to do about it") {
  Config config = default_config();
  config.ledger.journal = JournalKind::postgres;
  const auto text = [&](Errc code, const std::string& detail) {
    return cannot_start_text({.code = code, .detail = detail}, config);
  };
  CHECK(text(Errc::system_failed, "PostgreSQL: connection refused")
            .ends_with("; look at the server and at ledger.postgres; gpupoold --check-config "
                       "tries it"));
  CHECK(text(Errc::file_malformed, "database a of user b at c:1: schema s has other tables")
            .ends_with("; name another ledger.postgres_schema"));
  CHECK(text(Errc::journal_corrupt, "database a of user b at c:1: no row")
            .ends_with("; leave the schema as it is and go on from a backup that is whole"));
  CHECK(text(Errc::unsupported, "database a of user b at c:1: fsync = off").ends_with("off"));
  CHECK(text(Errc::system_failed, "binding failed").find("ledger.postgres") == std::string::npos);
}

TEST_CASE("A configuration's check writes nothing and names the key that is wrong") {
  const Folder folder;
  Config config = default_config();
  config.apps = {{.name = "a", .executor = ExecutorKind::noop}};
  config.ledger.path = (folder.path / "pool.sqlite").string();
  config.worker.folder = (folder.path / "deep" / "worker").string();
  const auto good = check_surroundings(config);
  REQUIRE(good);
  CHECK(good->find("pool.sqlite, to be made") != std::string::npos);
  CHECK(good->find("slots: 2, devices: 2") != std::string::npos);
  CHECK(fs::is_empty(folder.path));

  std::ofstream(config.ledger.path) << "no ledger, but a text of some length";
  const auto other_file = check_surroundings(config);
  REQUIRE_FALSE(other_file);
  CHECK(other_file.error().detail ==
        "ledger.path: " + config.ledger.path + " is not a gpupool ledger");
  config.ledger.path = (folder.path / "missing" / "pool.sqlite").string();
  const auto no_folder = check_surroundings(config);
  REQUIRE_FALSE(no_folder);
  CHECK(no_folder.error().detail.starts_with("ledger.path: cannot write in "));
}

TEST_CASE("A configuration's check tries the address that clients are to reach") {
  const Folder folder;
  Config config = default_config();
  config.apps = {{.name = "a", .executor = ExecutorKind::noop}};
  config.ledger.path = (folder.path / "pool.sqlite").string();
  config.worker.folder = (folder.path / "worker").string();
  CHECK(check_surroundings(config));
  config.broker.client_endpoint = "tcp://192.0.2.1:7400";  // of no machine (RFC 5737)
  const auto elsewhere = check_surroundings(config);
  REQUIRE_FALSE(elsewhere);
  CHECK(elsewhere.error().detail.starts_with(
      "broker.client_endpoint: cannot listen at tcp://192.0.2.1:7400: "));
  config.broker.client_endpoint = "tcp://127.0.0.1:*";
  config.ledger.path = folder.path.string();
  CHECK(check_surroundings(config).error().detail.starts_with(
      "ledger.path: " + folder.path.string() + " is no file"));
}

TEST_CASE("A configuration's check looks where the pid file and the ready file go") {
  const Folder folder;
  Config config = default_config();
  config.apps = {{.name = "a", .executor = ExecutorKind::noop}};
  config.ledger.path = (folder.path / "pool.sqlite").string();
  config.worker.folder = (folder.path / "worker").string();
  config.daemon.pid_file = (folder.path / "pid").string();
  config.broker.ready_file = (folder.path / "ready").string();
  CHECK(check_surroundings(config));
  CHECK(fs::is_empty(folder.path));

  config.broker.ready_file = (folder.path / "missing" / "ready").string();
  CHECK(check_surroundings(config).error().detail.starts_with(
      "broker.ready_file: cannot write in " + (folder.path / "missing").string()));
  config.daemon.pid_file = (folder.path / "missing" / "pid").string();
  CHECK(check_surroundings(config).error().detail.starts_with("daemon.pid_file: cannot write in "));
}

TEST_CASE("The build names the version, and its commit where there is one") {
  CHECK(build_string().starts_with("0.1.0"));
  CHECK(build_string().find_first_of(" \n\"") == std::string::npos);
}
