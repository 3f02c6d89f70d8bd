// Who is no member of the pool, over a network as it is between machines: a worker whose
// certificate another authority signed, and noise on the port where workers are expected.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "base/clock.h"
#include "tests/cluster/episodes.h"
#include "tests/cluster/hosts.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

namespace fs = std::filesystem;

// The configuration of node-2's worker, under another name and with another authority's files.
fs::path stranger(const Hosts& hosts) {
  const fs::path own = hosts.folder() / "stranger";
  const std::string pki = (own / "pki").string();
  const std::string gpupool = (hosts.folder() / "bin" / "gpupool").string();
  REQUIRE(run_command({gpupool, "pki", "init", "--dir", pki}).exit_code == 0);
  REQUIRE(run_command({gpupool, "pki", "node", "stranger", "--dir", pki}).exit_code == 0);
  std::ofstream(own / "gpupool.toml")
      << "[pool]\nroles = [\"worker\"]\n[cluster]\nca_file = \"pki/ca.certificate\"\n"
      << "certificate_file = \"pki/stranger.certificate\"\nkey_file = \"pki/stranger.key\"\n"
      << "[worker]\nname = \"stranger\"\nbroker_address = \"" << Hosts::address_of("broker-1")
      << ":7401," << Hosts::address_of("broker-2") << ":7401\"\nfolder = \"worker\"\n"
      << "[[apps]]\nname = \"emoji\"\nmodel = \"" << std::getenv("GPUPOOL_SOURCE_DIR")
      << "/models/emoji\"\n";
  return own / "gpupool.toml";
}

std::string nodes_of(const Hosts& hosts) {
  return run_command({hosts.folder() / "bin" / "gpupool", "nodes", "--json", "--endpoint",
                      Hosts::endpoints(), "--server-key",
                      "@" + (hosts.folder() / "cluster" / "pool.public").string(), "--token-file",
                      hosts.folder() / "cluster" / "root.token"})
      .output;
}

}  // namespace

TEST_CASE("A worker of another authority, and noise on its port, reach nothing in a cluster") {
  Hosts& hosts = cluster();
  REQUIRE(hosts.wait_until_well(seconds(60)));
  const std::string leader = hosts.leader();
  const std::size_t before = hosts.log_of(leader).size();
  // It tries for some seconds, and is killed then.
  const CommandEnd tried = run_command(
      Hosts::inside("node-2", {"env", "GPUPOOL_RUNS=" + (hosts.folder() / "stranger-runs").string(),
                               hosts.folder() / "bin" / "gpupoold", "--config", stranger(hosts)}),
      seconds(8));
  INFO(tried.output << "\n" << hosts.log_of(leader).substr(before));
  CHECK(tried.output.find("broker_unreachable") != std::string::npos);
  CHECK(tried.output.find("the broker takes it") == std::string::npos);
  CHECK(nodes_of(hosts).find("stranger") == std::string::npos);
  for (const char* bytes : {"1", "64", "100000"})
    (void)run_command(
        Hosts::inside("node-1", {"bash", "-c",
                                 "head -c " + std::string(bytes) + " /dev/urandom >/dev/tcp/" +
                                     Hosts::address_of(leader) + "/7401"}),
        seconds(5));
  CHECK(hosts.wait_until_well(seconds(30)));
  CHECK(hosts.leader() == leader);
  CHECK(hosts.log_of(leader).find("starting", before) == std::string::npos);
}

}  // namespace gpupool::test
