#include "config/identity.h"

#include <algorithm>
#include <utility>

#include "config/key_file.h"
#include "config/limits.h"
#include "config/load.h"
#include "config/small_file.h"
#include "config/text_rules.h"

namespace gpupool {
namespace {

constexpr std::int64_t key_bytes_max = 4096;
constexpr std::int64_t jwks_bytes_max = 256 * 1024;
constexpr std::int64_t issuers_max = 16;
constexpr Range per_s_range{0, 1'000'000};
constexpr Range burst_range{1, 10'000'000};

constexpr TextRule issuer_rule{
    .expected = "the issuer's own name for itself (\"iss\"), such as \"https://id.example.org\"",
    .allows = [](std::string_view text) { return !text.empty() && text.size() <= 255; }};
constexpr TextRule claim_rule{.expected = "the name of a claim: 1 to 64 letters, digits and ._:/-",
                              .allows = [](std::string_view text) {
                                return !text.empty() && text.size() <= 64 &&
                                       std::all_of(text.begin(), text.end(), [](char c) {
                                         return is_name(std::string_view(&c, 1)) ||
                                                std::string_view("._:/-").find(c) !=
                                                    std::string_view::npos;
                                       });
                              }};
constexpr TextRule member_rule{
    .expected = "the name of a user as tokens have it, or \"*@NAME\": all users of that issuer",
    .allows = [](std::string_view text) {
      return text.starts_with("*@") ? name_rule.allows(text.substr(2)) : user_rule.allows(text);
    }};

// The bytes of an HS256 secret as they stand in the file, or the seed of an Ed25519 key.
void read_key_secret(Section& section, const std::string& file, KeyConfig& key) {
  if (file.empty()) return;
  auto secret = read_secret(file);
  if (!secret)
    return section.reject("secret_file", "32 to 4096 secret bytes that only their owner may read",
                          secret.error().detail);
  if (key.algorithm != "EdDSA") {
    key.secret = *std::move(secret);
  } else if (auto seed = ed25519_seed(*secret)) {
    key.secret = *std::move(seed);
  } else {
    section.reject("secret_file", "an Ed25519 secret key: hex or base64url of 32 bytes, or PEM",
                   file + ", which holds something else");
  }
}

void read_public_key(Section& section, const std::string& file, KeyConfig& key) {
  constexpr std::string_view expected =
      "a file with an Ed25519 public key: hex or base64url of 32 bytes, or PEM";
  if (file.empty()) return section.reject("public_key_file", expected, "none");
  const auto text = read_small_file(file, key_bytes_max);
  if (!text) return section.reject("public_key_file", expected, text.error().detail);
  if (auto public_key = ed25519_public_key_in(*text))
    key.public_key = *std::move(public_key);
  else
    section.reject("public_key_file", expected, file + ", which holds something else");
}

// HS256 has one secret; EdDSA a public key, and its secret only where tokens are minted.
KeyConfig read_key(Section& section, const std::vector<KeyConfig>& before) {
  KeyConfig key;
  std::string secret_file;
  std::string public_key_file;
  section.text("kid", key.kid, name_rule, Need::required);
  section.text("algorithm", key.algorithm, algorithm_rule);
  const bool has_pair = key.algorithm == "EdDSA";
  section.path("secret_file", secret_file, has_pair ? Need::optional : Need::required);
  section.path("public_key_file", public_key_file);
  reject_repeat(section, before, "kid", &KeyConfig::kid, key);
  read_key_secret(section, secret_file, key);
  if (has_pair)
    read_public_key(section, public_key_file, key);
  else if (!public_key_file.empty())
    section.reject("public_key_file", "nothing, as an HS256 key has no public half",
                   public_key_file);
  return key;
}

IssuerTier read_issuer_tier(Section& section, const Config& config) {
  IssuerTier tier;
  section.text("value", tier.value, any_text, Need::required);
  section.text("tier", tier.tier, name_rule, Need::required);
  if (!tier.tier.empty() && config.tier(tier.tier) == nullptr)
    section.reject("tier", "the name of a tier", "\"" + tier.tier + "\"");
  return tier;
}

void read_issuer_keys(Section& section, const std::string& file, IssuerConfig& issuer) {
  constexpr std::string_view expected =
      "a file with the issuer's JWK Set (what its jwks_uri answers)";
  if (file.empty()) return section.reject("jwks_file", expected, "none");
  const auto text = read_small_file(file, jwks_bytes_max);
  if (!text) return section.reject("jwks_file", expected, text.error().detail);
  auto keys = read_jwks(*text);
  if (!keys) return section.reject("jwks_file", expected, file + ": " + keys.error().detail);
  issuer.keys = *std::move(keys);
}

IssuerConfig read_issuer(Section& section, const Config& config) {
  IssuerConfig issuer;
  std::string jwks_file;
  const auto& before = config.identity.issuers;
  section.text("name", issuer.name, name_rule, Need::required);
  section.text("issuer", issuer.issuer, issuer_rule, Need::required);
  section.text("audience", issuer.audience, any_text, Need::required);
  section.path("jwks_file", jwks_file, Need::required);
  section.text("user_claim", issuer.user_claim, claim_rule);
  section.text("tier_claim", issuer.tier_claim, claim_rule);
  section.list<IssuerTier>("tiers", issuer.tiers, entries_max,
                           [&](Section& one) { return read_issuer_tier(one, config); });
  reject_repeat(section, before, "name", &IssuerConfig::name, issuer);
  reject_repeat(section, before, "issuer", &IssuerConfig::issuer, issuer);
  read_issuer_keys(section, jwks_file, issuer);
  if (issuer.tier_claim.empty() && !issuer.tiers.empty())
    section.reject("tier_claim", "the claim that [[identity.issuers.tiers]] are about", "none");
  return issuer;
}

}  // namespace

void read_identity(Section section, Config& config) {
  auto& identity = config.identity;
  section.text("audience", identity.audience, any_text);
  section.flag("anonymous", identity.anonymous);
  section.text("anonymous_tier", identity.anonymous_tier, name_rule);
  section.text("default_tier", identity.default_tier, name_rule);
  section.list<KeyConfig>("keys", identity.keys, entries_max,
                          [&](Section& one) { return read_key(one, identity.keys); });
  section.list<IssuerConfig>("issuers", identity.issuers, issuers_max,
                             [&](Section& one) { return read_issuer(one, config); });
  const auto expect_tier = [&](std::string_view key, const std::string& tier) {
    if (config.tier(tier) == nullptr) section.reject(key, "the name of a tier", "\"" + tier + "\"");
  };
  if (identity.anonymous) expect_tier("anonymous_tier", identity.anonymous_tier);
  expect_tier("default_tier", identity.default_tier);
  section.finish();
}

void read_rates(Section section, Config& config) {
  section.count("account_per_s", config.rates.account.per_s, per_s_range);
  section.count("account_burst", config.rates.account.burst, burst_range);
  section.count("address_per_s", config.rates.address.per_s, per_s_range);
  section.count("address_burst", config.rates.address.burst, burst_range);
  section.finish();
}

GroupConfig read_group(Section& section, const Config& config) {
  GroupConfig group;
  section.text("name", group.name, name_rule, Need::required);
  section.texts("users", group.users, member_rule);
  section.moment("from", group.from);
  section.moment("until", group.until);
  reject_repeat(section, config.groups, "name", &GroupConfig::name, group);
  if (group.users.empty()) section.reject("users", "at least one user", "none");
  const auto& issuers = config.identity.issuers;
  for (const std::string& user : group.users)
    if (user.starts_with("*@") &&
        std::none_of(issuers.begin(), issuers.end(),
                     [&](const IssuerConfig& one) { return one.name == user.substr(2); }))
      section.reject("users", "\"*@\" and the name of one of [[identity.issuers]]",
                     "\"" + user + "\"");
  if (group.until <= group.from)
    section.reject("until", "a moment after \"from\"", "one that is not");
  return group;
}

}  // namespace gpupool
