// gpupool pki as an operator types it: an authority, certificates for machines, renewal, and what
// it refuses to write over.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/folder.h"
#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using Catch::Contains;
using nlohmann::json;

// `gpupool pki` in a folder of its own. A PoolProcess that was not started runs the program.
struct Pki : Folder {
  Output pki(std::vector<std::string> words) const {
    words.insert(words.begin(), "pki");
    return bench.gpupool("", words);
  }
  Output in_folder(std::vector<std::string> words) const {
    words.insert(words.end(), {"--dir", path});
    return pki(words);
  }
  json told(std::vector<std::string> words) const {
    words.emplace_back("--json");
    const Output output = in_folder(words);
    INFO(output.out << output.error);
    REQUIRE(output.exit_code == 0);
    return json::parse(output.out);
  }
  json shown(const std::string& name) const {
    const Output output = pki({"show", file(name), "--json"});
    REQUIRE(output.exit_code == 0);
    return json::parse(output.out);
  }
  void refuses(const std::vector<std::string>& words, const std::string& why) const {
    const Output output = in_folder(words);
    CHECK(output.exit_code == 2);
    CHECK_THAT(output.error, Contains(why));
    CHECK(output.out.empty());
  }
  mode_t mode(const std::string& name) const {
    struct stat facts {};
    REQUIRE(::stat(file(name).c_str(), &facts) == 0);
    return facts.st_mode & 0777U;
  }
  PoolProcess bench;
};

}  // namespace

TEST_CASE("pki tells with --json which files it made, whose they are and until when") {
  const Pki pki;
  const json authority = pki.told({"init", "--pool", "lab", "--days", "100"});
  CHECK(authority["ca_file"] == pki.file("ca.certificate"));
  CHECK(authority["ca_key_file"] == pki.file("ca.key"));
  CHECK(authority["is_authority"] == true);
  const json node = pki.told({"node", "node-1", "--address", "10.0.0.5,one.lab", "--days", "10"});
  CHECK(node["ca_file"] == pki.file("ca.certificate"));
  CHECK(node["certificate_file"] == pki.file("node-1.certificate"));
  CHECK(node["key_file"] == pki.file("node-1.key"));
  CHECK(node["name"] == "node-1");
  CHECK(node["is_authority"] == false);
  CHECK(node["issuer"] == authority["subject"]);
  CHECK(node["left_ms"].get<std::int64_t>() <= hours(240).ms);
  CHECK(node["left_ms"].get<std::int64_t>() > hours(239).ms);
  CHECK(pki.mode("ca.key") == 0600);
  CHECK(pki.mode("node-1.key") == 0600);
  json shown = pki.shown("node-1.certificate");
  for (const char* key : {"subject", "issuer", "valid_until", "addresses", "fingerprint"})
    CHECK(shown[key] == node[key]);
  const Output words = pki.in_folder({"node", "node-2"});
  CHECK_THAT(words.out,
             Contains("certificate_file = \"node-2.certificate\"") && !Contains("PRIVATE KEY"));
}

TEST_CASE("pki writes nothing over that was not to be renewed, and renews nothing that is not") {
  const Pki pki;
  pki.refuses({"node", "node-1"}, "gpupool pki init --dir");
  pki.told({"init"});
  pki.refuses({"init"}, "there is an authority already");
  pki.refuses({"node", "node-1", "--renew"}, "there is none to renew");
  pki.refuses({"node", "../node-1"}, "expected");
  pki.refuses({"node", "ca"}, "the authority's own files");
  pki.told({"node", "node-1"});
  const std::string key = content_of(pki.file("node-1.key"));
  pki.refuses({"node", "node-1"}, "--renew replaces it");
  CHECK(content_of(pki.file("node-1.key")) == key);
  const Output shown = pki.pki({"show", pki.file("node-1.key")});
  CHECK(shown.exit_code == 2);
  CHECK((shown.out + shown.error).find("PRIVATE KEY") == std::string::npos);
}

TEST_CASE("A machine goes on as a member with the certificate that pki renewed") {
  const Pki pki;
  pki.told({"init", "--pool", "lab"});
  pki.told({"node", "broker"});
  const json old = pki.told({"node", "node-1", "--address", "10.0.0.5,one.lab"});
  const std::string old_key = content_of(pki.file("node-1.key"));
  PoolProcess pool({.two_processes = true, .worker_settings = one_slot, .pki = pki.path});
  pool.start();

  const json renewed = pki.told({"node", "node-1", "--renew"});
  CHECK(renewed["addresses"] == old["addresses"]);
  CHECK(renewed["subject"] == old["subject"]);
  CHECK(renewed["fingerprint"] != old["fingerprint"]);
  CHECK(content_of(pki.file("node-1.key")) != old_key);
  CHECK(pki.mode("node-1.key") == 0600);
  CHECK(pki.files() == 6);

  pool.kill_worker();
  pool.start_worker();
  CHECK(pool.log_says("by the name of node-1, certificate " +
                      renewed["fingerprint"].get<std::string>().substr(0, 8)));
  const auto client = pool.client("ada");
  REQUIRE(client->submit(new_request(), picture(1)));
  const auto done = wait_for_end(*client);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::succeeded);

  const json moved = pki.told({"node", "node-1", "--renew", "--address", "10.0.0.6"});
  CHECK(moved["addresses"].dump().find("10.0.0.5") == std::string::npos);
  CHECK(moved["addresses"].dump().find("10.0.0.6") != std::string::npos);
}

}  // namespace gpupool::test
