// A pool whose machines know each other by certificates, and those who are kept out of it.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "net/certificate_authority.h"
#include "tests/folder.h"
#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

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
  CHECK(pool.log_says("certificate_expires: the certificate of this machine, broker, expires at"));
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
