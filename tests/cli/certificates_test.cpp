// What the daemon does with its certificates, and what its log says of them and of who comes.
#include "cli/certificates.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "cli/advice.h"
#include "net/certificate_authority.h"
#include "tests/folder.h"

using namespace gpupool;
using Catch::Contains;

namespace {

const Instant noon{1'795'000'000'000};

struct Pki : Folder {
  ClusterConfig cluster{
      .ca_file = file("ca"), .certificate_file = file("certificate"), .key_file = file("key")};

  explicit Pki(std::int64_t days, std::int64_t authority_days = 3'650) {
    const auto authority = make_authority({.pool = "lab", .now = noon, .days = authority_days});
    REQUIRE(authority);
    const auto node = make_node({.name = "node-1", .now = noon, .days = days}, *authority);
    REQUIRE(node);
    for (const auto& [path, text] : {std::pair{cluster.ca_file, authority->certificate},
                                     {cluster.certificate_file, node->certificate},
                                     {cluster.key_file, node->key}}) {
      std::ofstream(path) << text;
      chmod(path.c_str(), 0600);
    }
  }
};

}  // namespace

TEST_CASE("A daemon keeps its certificates, whatever becomes of their files") {
  const Pki pki(365);
  const auto own = OwnCertificates::load(pki.cluster, noon);
  REQUIRE(own);
  const std::string key = content_of(pki.cluster.key_file);
  std::filesystem::remove(pki.cluster.key_file);
  CHECK(own->files().has_tls());
  CHECK(content_of(own->files().key_file) == key);
  CHECK_FALSE(std::ofstream(own->files().key_file, std::ios::app) << "x" << std::flush);
}

TEST_CASE("Without certificates in the configuration there is nothing to say about them") {
  const auto own = OwnCertificates::load({}, noon);
  REQUIRE(own);
  CHECK_FALSE(own->files().has_tls());
  CHECK_FALSE(own->word(noon));
}

TEST_CASE("The log warns 30 days before a certificate expires, and of what to do") {
  const Pki pki(60);
  const auto own = OwnCertificates::load(pki.cluster, noon);
  REQUIRE(own);
  const auto early = own->word(noon);
  REQUIRE(early);
  CHECK(early->level == LogLevel::info);
  CHECK_THAT(early->text, Contains("node-1, a member of the pool by CN=lab authority,O=gpupool") &&
                              Contains("60 days left"));
  const auto late = own->word(noon + hours(24 * 31));
  REQUIRE(late);
  CHECK(late->level == LogLevel::warn);
  CHECK(late->event == "certificate_expires");
  CHECK_THAT(late->text, Contains("in 29 days") && Contains("gpupool pki node node-1 --renew"));
  const auto over = own->word(noon + hours(24 * 61));
  REQUIRE(over);
  CHECK(over->level == LogLevel::error);
  CHECK(over->event == "certificate_expired");
}

TEST_CASE("Where the authority expires a renewal would not help, and is not advised") {
  const Pki pki(60, 20);
  const auto own = OwnCertificates::load(pki.cluster, noon);
  REQUIRE(own);
  const auto word = own->word(noon);
  REQUIRE(word);
  CHECK_THAT(word->text, Contains("the pool's authority") && Contains("in 20 days") &&
                             Contains("make a new authority") && !Contains("--renew"));
}

TEST_CASE("The log tells who came in, who was kept out, and what became of dialling") {
  using Kind = HandshakeNews::Kind;
  using Side = HandshakeNews::Side;
  const LogLine in = log_line({Kind::member, Side::dialled_here, "10.0.0.5", "node-2, ..."});
  CHECK(in.level == LogLevel::info);
  CHECK(in.text == "from 10.0.0.5, by the name of node-2, ...");
  const LogLine out = log_line({Kind::refused, Side::dialled_here, "10.0.0.9", "no certificate"});
  CHECK(out.level == LogLevel::warn);
  CHECK_THAT(out.text, Contains("10.0.0.9 was kept out: no certificate; ") &&
                           Contains("gpupool pki node NAME"));
  const LogLine back = log_line({Kind::refused, Side::dialled_there, "10.0.0.1", "expired"});
  CHECK_THAT(back.text, Contains("no connection to 10.0.0.1: expired"));
}

TEST_CASE("A worker that is refused is told what to do about it") {
  CHECK_THAT(
      refused_text({.code = Errc::version_mismatch, .detail = "this pool runs build a, ..."}),
      Contains("this pool runs build a") && Contains("install the pool's build"));
  CHECK_THAT(refused_text({.code = Errc::overloaded, .detail = "full"}),
             Contains("gpupool remove"));
  const ClusterConfig plain;
  CHECK_THAT(unreachable_text("a:1", {.code = Errc::not_connected, .detail = "why"}, plain),
             Contains("at a:1 (why)") && Contains("as [cluster] names none here"));
}
