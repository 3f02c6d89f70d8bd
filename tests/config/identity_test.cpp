// Issuers of tokens with their keys, groups and rates, as a configuration says them.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "config/jwks.h"
#include "tests/config/reading.h"
#include "tests/config/rfc_7515.h"

using namespace gpupool;

namespace {

// The keys of RFC 7515, and a third of RFC 8037, appendix A.2.
const std::string rsa = R"({"kty":"RSA","kid":"r","use":"sig","alg":"RS256","e":"AQAB","n":")" +
                        rfc_7515::modulus + "\"}";
const std::string curve = R"({"kty":"EC","kid":"e","crv":"P-256","x":")" + rfc_7515::x +
                          R"(","y":")" + rfc_7515::y + "\"}";
const std::string edwards =
    R"({"kty":"OKP","kid":"d","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})";

std::string set_of(const std::string& keys) { return "{\"keys\":[" + keys + "]}"; }

std::string why_not(const std::string& text) {
  const auto keys = read_jwks(text);
  return keys ? std::string() : keys.error().detail;
}

bool has(const std::string& text, const std::string& words) {
  INFO(text);
  return text.find(words) != std::string::npos;
}

// A configuration in a folder that has the issuer's keys.
struct Folder {
  Folder() {
    std::filesystem::create_directories(path);
    std::ofstream(path / "uni.jwks.json") << set_of(rsa);
    std::ofstream(path / "none.jwks.json") << "{}";
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Result<Config> read(const std::string& text) const {
    return parse_config(text, path / "gpupool.toml");
  }
  std::string problem(const std::string& text) const {
    const auto config = read(text);
    return config ? std::string() : config.error().detail;
  }
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("gpupool-issuers-" + std::to_string(getpid()));
};

const std::string uni =
    "[[identity.issuers]]\nname = \"uni\"\nissuer = \"https://id.example.org\"\n"
    "audience = \"gpupool\"\njwks_file = \"uni.jwks.json\"\n";
const std::string apps = "[[apps]]\nname = \"a\"\nexecutor = \"noop\"\n";

}  // namespace

TEST_CASE("The keys of a JWK Set are read, each with the one algorithm of its kind") {
  const auto keys = read_jwks(set_of(rsa + "," + curve + "," + edwards + "," + rsa));
  REQUIRE(keys);
  REQUIRE(keys->size() == 3);
  CHECK((*keys)[0].algorithm == "RS256");
  CHECK((*keys)[0].kid == "r");
  CHECK((*keys)[1].algorithm == "ES256");
  CHECK((*keys)[2].algorithm == "EdDSA");
}

TEST_CASE("Keys for other uses, kinds and algorithms are passed over, secrets among them") {
  const std::string others =
      R"({"kty":"oct","kid":"s","k":"c2VjcmV0"},{"kty":"EC","crv":"P-384","x":"","y":""},)"
      R"({"kty":"RSA","use":"enc","n":"AQ","e":"AQAB"},{"kty":"RSA","alg":"PS256","n":"AQ"},)"
      R"({"kty":"RSA","key_ops":["sign"],"n":"AQ"},{"kty":7},"text",null,)";
  const auto keys = read_jwks(set_of(others + curve));
  REQUIRE(keys);
  CHECK(keys->size() == 1);
  CHECK(has(why_not(set_of(others + "7")), "no key for RS256, ES256 or EdDSA"));
}

TEST_CASE("A weak or broken key, and what is no JWK Set, are told") {
  CHECK(has(why_not(set_of(R"({"kty":"RSA","kid":"short","n":"AQAB","e":"AQAB"})")),
            "key \"short\" is no sound RS256 key"));
  std::string off_curve = curve;
  off_curve.replace(off_curve.find("f83O"), 4, "f83P");
  CHECK(has(why_not(set_of(off_curve)), "no sound ES256 key"));
  std::string one = rsa;
  one.replace(one.find("AQAB"), 4, "AQ");
  CHECK(has(why_not(set_of(one)), "no sound RS256 key"));
  for (const char* text : {"", "[]", "{}", "{\"keys\":{}}", "{\"keys\":", "null"})
    CHECK(has(why_not(text), "no JWK Set"));
}

TEST_CASE("An issuer is read with its keys, and its tiers are the pool's") {
  const Folder folder;
  const auto config = folder.read(uni +
                                  "tier_claim = \"groups\"\n[[identity.issuers.tiers]]\n"
                                  "value = \"staff\"\ntier = \"pro\"\n" +
                                  apps);
  REQUIRE(config);
  REQUIRE(config->identity.issuers.size() == 1);
  const IssuerConfig& issuer = config->identity.issuers.front();
  CHECK(issuer.keys.size() == 1);
  CHECK(issuer.user_claim == "sub");
  REQUIRE(issuer.tiers.size() == 1);
  CHECK(issuer.tiers.front().tier == "pro");
}

TEST_CASE("What is wrong with an issuer is told with its key, and what to name instead") {
  const Folder folder;
  const auto with = [&](const std::string& lines) { return folder.problem(uni + lines + apps); };
  CHECK(has(folder.problem(uni + uni + apps), "a name that no other entry has"));
  CHECK(has(with("tier_claim = \"a b\"\n"), "the name of a claim"));
  CHECK(
      has(with("tier_claim = \"g\"\n[[identity.issuers.tiers]]\nvalue = \"x\"\ntier = \"gold\"\n"),
          "the name of a tier"));
  CHECK(has(with("[[identity.issuers.tiers]]\nvalue = \"x\"\ntier = \"pro\"\n"), "tier_claim"));
  std::string other = uni;
  other.replace(other.find("uni.jwks"), 8, "none.jwks");
  CHECK(has(folder.problem(other + apps), "no JWK Set"));
  other.replace(other.find("none.jwks"), 9, "gone.jwks");
  CHECK(has(folder.problem(other + apps), "gone.jwks"));
}

TEST_CASE("A group has users, an end after its beginning, and issuers that there are") {
  const Folder folder;
  const std::string group = "[[groups]]\nname = \"workshop\"\n";
  const auto config = folder.read(uni + apps + group +
                                  "users = [\"ada\", \"*@uni\"]\nfrom = 2026-12-01T08:00:00Z\n");
  REQUIRE(config);
  const GroupConfig& read = config->groups.front();
  CHECK(read.account() == "group:workshop");
  CHECK(read.has("user:ada"));
  CHECK(read.has("user:cem@uni"));
  CHECK_FALSE(read.has("user:eve"));
  CHECK_FALSE(read.has("user:ada@lab"));
  CHECK_FALSE(read.has("address:192.0.2.7/32"));
  CHECK_FALSE(read.is_on(Instant{1'796'000'000'000} - hours(24 * 365)));
  CHECK(has(folder.problem(apps + group), "at least one user"));
  CHECK(has(folder.problem(apps + group + "users = [\"*@lab\"]\n"), "[[identity.issuers]]"));
  CHECK(has(folder.problem(apps + group + "users = [\"a b\"]\n"), "the name of a user"));
  CHECK(has(folder.problem(apps + group +
                           "users = [\"a\"]\nfrom = 2026-12-01T08:00:00Z\n"
                           "until = 2026-12-01T08:00:00Z\n"),
            "a moment after \"from\""));
}

TEST_CASE("Rates are read, and 0 a second stands for no limit") {
  const Config config = parsed("[rates]\naccount_per_s = 0\naddress_burst = 9\n" + apps);
  CHECK(config.rates.account.per_s == 0);
  CHECK(config.rates.account.burst == 1'000);
  CHECK(config.rates.address.burst == 9);
  CHECK(has(Folder().problem("[rates]\naccount_burst = 0\n" + apps), "account_burst"));
}

TEST_CASE("The example issuer and group of gpupool.toml load once they are uncommented") {
  const Config grouped = parsed(with_example("[[groups]]"), "config/gpupool.toml");
  REQUIRE(grouped.groups.size() == 1);
  CHECK(grouped.groups.front().name == "workshop");
  // The file of its keys is the reader's own.
  const auto issued = parse_config(with_example("[[identity.issuers]]"), "config/gpupool.toml");
  REQUIRE_FALSE(issued);
  CHECK(has(issued.error().detail, "identity.issuers[0].jwks_file"));
}
