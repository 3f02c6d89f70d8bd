// Certificates that gpupool makes, and what it finds wrong with those it is given.
#include "net/certificate.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "net/certificate_authority.h"
#include "tests/folder.h"

using namespace gpupool;
using Catch::Contains;

namespace {

const Instant noon{1'795'000'000'000};

// An authority and a node in a folder, as [cluster] names them.
struct Pki : Folder {
  CertifiedKey authority = made(make_authority({.pool = "lab", .now = noon}));
  CertifiedKey node = made(make_node({.name = "node-1", .now = noon}, authority));
  ClusterConfig cluster{
      .ca_file = file("ca"), .certificate_file = file("certificate"), .key_file = file("key")};

  Pki() {
    write(cluster.ca_file, authority.certificate);
    write(cluster.certificate_file, node.certificate);
    write(cluster.key_file, node.key);
  }
  static CertifiedKey made(Result<CertifiedKey> result) {
    REQUIRE(result);
    return *std::move(result);
  }
  static void write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
    chmod(path.c_str(), 0600);
  }
  Result<Membership> check(Instant now = noon) const {
    const auto files = read_membership(cluster);
    if (!files) return files.error();
    return check_membership(*files, cluster, now);
  }
  std::string complaint(Instant now = noon) const {
    const auto found = check(now);
    REQUIRE_FALSE(found);
    CHECK(found.error().code == Errc::config_invalid);
    return found.error().detail;
  }
};

}  // namespace

TEST_CASE("A node's certificate makes it a member until it expires") {
  const Pki pki;
  const auto found = pki.check();
  REQUIRE(found);
  CHECK(found->certificate.name == "node-1");
  CHECK(found->certificate.subject == "CN=node-1,O=gpupool");
  CHECK(found->authority == "CN=lab authority,O=gpupool");
  CHECK(found->until == noon + hours(24 * 365));
  CHECK(found->authority_until == noon + hours(24 * 3'650));
}

TEST_CASE("A certificate says whose it is, who signed it, and where the machine is reached") {
  const Pki pki;
  const auto made = make_node(
      {.name = "b", .addresses = {"10.0.0.5", "fd00::7", "b.lab.example"}, .now = noon, .days = 9},
      pki.authority);
  REQUIRE(made);
  const auto facts = read_certificate(made->certificate);
  REQUIRE(facts);
  CHECK(facts->issuer == "CN=lab authority,O=gpupool");
  CHECK(facts->valid_from == noon - hours(1));
  CHECK(facts->valid_until == noon + hours(24 * 9));
  CHECK_FALSE(facts->is_authority);
  CHECK(facts->addresses ==
        std::vector<std::string>{"b", "10.0.0.5", "fd00:0:0:0:0:0:0:7", "b.lab.example"});
  CHECK(facts->fingerprint.size() == 32 * 3 - 1);
  const auto authority = read_certificate(pki.authority.certificate);
  REQUIRE(authority);
  CHECK(authority->is_authority);
}

TEST_CASE("An address that would say more than an address is refused") {
  const Pki pki;
  for (const char* address : {"10.0.0.5,IP:10.0.0.6", "", "a b", "email:copy", "x\n"}) {
    const auto made = make_node({.name = "b", .addresses = {address}, .now = noon}, pki.authority);
    REQUIRE_FALSE(made);
    CHECK(made.error().code == Errc::bad_request);
  }
}

TEST_CASE("A node's certificate never outlives its authority") {
  const Pki pki;
  const auto made = make_node({.name = "b", .now = noon, .days = 36'500}, pki.authority);
  REQUIRE(made);
  const auto facts = read_certificate(made->certificate);
  REQUIRE(facts);
  CHECK(facts->valid_until == noon + hours(24 * 3'650));
}

TEST_CASE("Nothing is signed without an authority and its own key") {
  const Pki pki;
  const NodeWish wish{.name = "b", .now = noon};
  CHECK_FALSE(make_node(wish, pki.node));
  CHECK_FALSE(make_node(wish, {.certificate = pki.authority.certificate, .key = pki.node.key}));
  CHECK_FALSE(make_node(wish, {.certificate = "", .key = ""}));
}

TEST_CASE("A file that is not there, or not the owner's alone, is named with its key") {
  const Pki pki;
  chmod(pki.cluster.key_file.c_str(), 0640);
  CHECK_THAT(pki.complaint(),
             Contains("cluster.key_file: " + pki.cluster.key_file) && Contains("chmod 600"));
  std::filesystem::remove(pki.cluster.certificate_file);
  CHECK_THAT(pki.complaint(), Contains("cluster.certificate_file: ") && Contains("No such file") &&
                                  Contains("gpupool pki makes them"));
  std::filesystem::remove(pki.cluster.ca_file);
  CHECK_THAT(pki.complaint(), Contains("cluster.ca_file: "));
}

TEST_CASE("A file that is something else is told what it should be") {
  Pki pki;
  Pki::write(pki.cluster.key_file, "no key\n");
  CHECK_THAT(pki.complaint(), Contains("cluster.key_file: ") && Contains("holds no secret key"));
  Pki::write(pki.cluster.certificate_file, pki.node.key);
  CHECK_THAT(pki.complaint(),
             Contains("cluster.certificate_file: ") && Contains("holds no certificate"));
  Pki::write(pki.cluster.ca_file, "");
  CHECK_THAT(pki.complaint(), Contains("cluster.ca_file: ") && Contains("holds no certificate"));
  Pki::write(pki.cluster.ca_file, pki.authority.certificate + pki.authority.key);
  CHECK_THAT(pki.complaint(), Contains("cluster.ca_file: ") && Contains("secret key"));
}

TEST_CASE("A key behind a passphrase is refused without asking for one") {
  const Pki pki;
  Pki::write(pki.cluster.key_file,
             "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
             "MIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBDZOBQJOpd1N5WAvFEr\n"
             "-----END ENCRYPTED PRIVATE KEY-----\n");
  CHECK_THAT(pki.complaint(), Contains("cluster.key_file: ") && Contains("passphrase"));
}

TEST_CASE("A key of another certificate is found before anybody dials") {
  const Pki pki;
  const auto other = make_node({.name = "node-1", .now = noon}, pki.authority);
  REQUIRE(other);
  Pki::write(pki.cluster.key_file, other->key);
  CHECK_THAT(pki.complaint(), Contains("cluster.key_file: ") && Contains("is not the key of"));
}

TEST_CASE("A certificate of another authority is found, however alike the names are") {
  const Pki pki;
  const Pki other;
  Pki::write(pki.cluster.ca_file, other.authority.certificate);
  CHECK_THAT(pki.complaint(), Contains("cluster.certificate_file: ") &&
                                  Contains("was not signed by the authority in"));
}

TEST_CASE("While a pool changes its authority, two of them count") {
  const Pki pki;
  const Pki other;
  Pki::write(pki.cluster.ca_file, other.authority.certificate + pki.authority.certificate);
  CHECK(pki.check());
}

TEST_CASE("Certificates that are over or to come are told with their dates") {
  Pki pki;
  CHECK(pki.check(noon + hours(24 * 365) - seconds(1)));
  CHECK_THAT(pki.complaint(noon + hours(24 * 365)),
             Contains("cluster.certificate_file: ") && Contains("has expired") &&
                 Contains("gpupool pki node node-1 --renew"));
  CHECK_THAT(pki.complaint(noon - hours(2)), Contains("is not valid yet") && Contains("clock"));

  const auto brief = make_authority({.pool = "lab", .now = noon, .days = 1});
  REQUIRE(brief);
  Pki::write(pki.cluster.ca_file, brief->certificate);
  const auto node = make_node({.name = "node-1", .now = noon}, *brief);
  REQUIRE(node);
  Pki::write(pki.cluster.certificate_file, node->certificate);
  Pki::write(pki.cluster.key_file, node->key);
  CHECK(pki.check());
  CHECK_THAT(pki.complaint(noon + hours(25)), Contains("has expired"));
}

TEST_CASE("The authority's own certificate is nobody's on a machine") {
  const Pki pki;
  Pki::write(pki.cluster.certificate_file, pki.authority.certificate);
  Pki::write(pki.cluster.key_file, pki.authority.key);
  CHECK_THAT(pki.complaint(),
             Contains("cluster.certificate_file: ") && Contains("is an authority's own"));
}

TEST_CASE("What is left of a certificate is told in days, and in hours at the end") {
  CHECK(days_text(hours(24 * 30)) == "30 days");
  CHECK(days_text(hours(47)) == "47 hours");
  CHECK(days_text(hours(1)) == "1 hour");
  CHECK(days_text(hours(-5)) == "0 hours");
}
