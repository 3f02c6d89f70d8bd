// A pool whose machines know each other by certificates, and those who are kept out of it.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "net/certificate_authority.h"
#include "net/certificate_handshakes.h"
#include "tests/folder.h"
#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"
#include "tests/system/stranger.h"

namespace gpupool::test {
namespace {

using Catch::Contains;

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << text;
  chmod(path.c_str(), 0600);
}

CertifiedKey sure(Result<CertifiedKey> made) {
  REQUIRE(made);
  return *std::move(made);
}

// A folder as gpupool pki leaves it, with an authority of its own.
struct Pki : Folder {
  CertifiedKey authority = sure(make_authority({.pool = "test", .now = wall_time()}));

  Pki() {
    write(path / "ca.certificate", authority.certificate);
    for (const char* name : {"broker", "node-1", "node-2"}) add(name, wall_time());
  }
  // Valid for a day from then on.
  void add(const std::string& name, Instant from) const {
    const auto made = sure(make_node({.name = name, .now = from, .days = 1}, authority));
    write(path / (name + ".certificate"), made.certificate);
    write(path / (name + ".key"), made.key);
  }
};

PoolOptions with(const Pki& pki) {
  return {.two_processes = true, .worker_settings = one_slot, .pki = pki.path};
}

std::int64_t memory_kib(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  std::int64_t all = 0;
  std::int64_t resident = 0;
  file >> all >> resident;
  return resident * 4;
}

Receipt draw(const PoolProcess& pool, const std::string& user) {
  const auto client = pool.client(user);
  REQUIRE(client->submit(new_request(), picture(10)));
  const auto done = wait_for_end(*client);
  REQUIRE(done);
  return done->receipt;
}

}  // namespace

TEST_CASE("A pool of two processes that know each other by certificates draws a picture") {
  const Pki pki;
  PoolProcess pool(with(pki));
  pool.start();
  CHECK(draw(pool, "ada").outcome == Outcome::succeeded);
  CHECK(pool.log_says("connected: from 127.0.0.1, by the name of node-1, certificate "));
  CHECK(pool.log_says("connected: to 127.0.0.1, by the name of broker, certificate "));
  CHECK(pool.log_says("certificate_expires: the certificate of this machine, broker, expires at"));
}

TEST_CASE("A worker of another authority, or with no certificate, is kept out and told so") {
  const Pki pki;
  const Pki other;
  PoolProcess pool(with(pki));
  pool.start();
  const auto kept_out = [&](const std::string& folder, const std::string& said) {
    pool.start_another_worker("node-2", {.pki = folder, .program = {}});
    CHECK(pool.log_says("broker_unreachable node=node-2: no connection to a broker at " +
                        pool.worker_address()));
    CHECK(pool.log_says(said));
    CHECK(draw(pool, "ada").outcome == Outcome::succeeded);
    pool.kill_another_worker("node-2");
    CHECK_THAT(pool.log(), !Contains("node_joined node=node-2") && !Contains("node_lost"));
  };
  kept_out(other.path, "connection_refused: 127.0.0.1 was kept out: it knows another authority");
  kept_out("", "connection_refused: 127.0.0.1 was kept out: what it sent is not TLS");
  pool.start_another_worker("node-2");
  CHECK(pool.log_says("node_joined node=node-2"));
}

TEST_CASE("Certificates that have expired, or are another authority's, are refused by the broker") {
  const Pki pki;
  const Pki other;
  PoolProcess pool(with(pki));
  pool.start();
  const auto answer = [&](const NodeWish& wish, const Pki& signer) {
    return StrangerAtTheDoor(pool.worker_address())
        .shake_hands(sure(make_node(wish, signer.authority)));
  };
  const Instant now = wall_time();
  CHECK(answer({.name = "node-3", .now = now, .days = 1}, pki).empty());
  CHECK_THAT(answer({.name = "node-3", .now = now, .days = 1}, other), Contains("unknown ca"));
  // Made when its authority was an hour younger, for less time than has passed since.
  CHECK_THAT(answer({.name = "node-3", .now = now, .days = -1}, pki), Contains("expired"));
  CHECK(pool.log_says("connection_refused: 127.0.0.1 was kept out: certificate has expired"));
  CHECK(draw(pool, "ada").outcome == Outcome::succeeded);
  CHECK_THAT(pool.log(), !Contains("node_lost"));
}

TEST_CASE("Garbage on the node port is refused, the pool draws on, and its memory stays bounded") {
  const Pki pki;
  PoolProcess pool(with(pki));
  pool.start();
  const std::int64_t before = memory_kib(pool.broker_pid());
  std::uint64_t drawn = 7;
  for (int i = 0; i < 50; ++i) {
    const StrangerAtTheDoor stranger(pool.worker_address());
    std::string bytes;
    while (bytes.size() < 4096)
      bytes += static_cast<char>((drawn = drawn * 6364136223846793005U + 1) >> 56U);
    stranger.send(bytes);
    CHECK(stranger.is_put_out(seconds(20)));
  }
  // What CAF takes for the header of a message of 4 GiB, where it is not encrypted.
  const StrangerAtTheDoor greedy(pool.worker_address());
  greedy.send(std::string("\x01\x00\x00\x00\xff\xff\xff\xff", 8) + std::string(24, '\x01'));
  CHECK(greedy.is_put_out(seconds(20)));
  CHECK(draw(pool, "ada").outcome == Outcome::succeeded);

  // More that never say a word than may be without a handshake: the oldest are put out.
  std::vector<std::unique_ptr<StrangerAtTheDoor>> idle;
  for (std::size_t i = 0; i < HandshakeGuard::handshakes_max + 88; ++i)
    idle.push_back(std::make_unique<StrangerAtTheDoor>(pool.worker_address()));
  CHECK(idle[0]->is_put_out(seconds(20)));
  CHECK(idle[80]->is_put_out(seconds(20)));
  CHECK(pool.log_says("connection_refused: 127.0.0.1 was kept out: its handshake was not over"));
  CHECK(draw(pool, "ada").outcome == Outcome::succeeded);
  const std::int64_t grown = memory_kib(pool.broker_pid()) - before;
  INFO("the broker grew by " << grown << " KiB");
  CHECK(grown < 200 * 1024);
  CHECK_THAT(pool.log(), !Contains("node_lost"));
}

TEST_CASE("A daemon does not start with certificates that are wrong, and says which") {
  const Pki pki;
  PoolProcess pool(with(pki));
  pool.start();
  pool.kill_worker();
  pki.add("node-1", wall_time() - hours(48));
  pool.start_worker();
  CHECK(pool.worker_ended(seconds(20)) == 1);
  CHECK(pool.log_says("cannot_start: cannot start: cluster.certificate_file: " +
                      (pki.path / "node-1.certificate").string() + ": has expired"));
  CHECK_THAT(pool.log(), Contains("gpupool pki node node-1 --renew"));
}

TEST_CASE("--check-config finds each certificate file that is wrong") {
  const Pki pki;
  const Pki other;
  PoolProcess pool(with(pki));
  pool.start();
  pool.stop();
  const auto check = [&] { return pool.gpupoold({"--config", pool.config(), "--check-config"}); };
  const Output good = check();
  CHECK(good.exit_code == 0);
  CHECK_THAT(good.out, Contains("cluster broker, a member of the pool by CN=test authority"));

  struct Wrong {
    std::string file;
    std::string text;
    std::string said;
  };
  const std::vector<Wrong> all{
      {"broker.key", other.authority.key, "cluster.key_file: "},
      {"broker.certificate", "nothing", "cluster.certificate_file: "},
      {"ca.certificate", other.authority.certificate, "was not signed by the authority in"},
      {"ca.certificate", "nothing", "cluster.ca_file: "}};
  for (const Wrong& wrong : all) {
    const std::string before = content_of(pki.path / wrong.file);
    write(pki.path / wrong.file, wrong.text);
    const Output bad = check();
    INFO(bad.error);
    CHECK(bad.exit_code == 2);
    CHECK_THAT(bad.error, Contains(wrong.said) && Contains(pki.path / wrong.file));
    write(pki.path / wrong.file, before);
  }
  chmod((pki.path / "broker.key").c_str(), 0644);
  CHECK_THAT(check().error, Contains("cluster.key_file: ") && Contains("chmod 600"));
}

}  // namespace gpupool::test
