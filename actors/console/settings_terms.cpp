#include "actors/console/settings_terms.h"

#include <string>
#include <string_view>
#include <utility>

#include "actors/describe.h"
#include "actors/ledger/batch.h"
#include "actors/ledger/terms_changes.h"

namespace gpupool {
namespace {

using Settings = std::vector<SettingTerms>;

std::string list_text(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? "nobody" : text;
}

std::string span_text(Instant from, Instant until) {
  return (from ? "from " + utc_text(from) : std::string("at once")) +
         (until == Instant::never() ? ", for good" : " until " + utc_text(until));
}

// "100 a second, 1000 at once"
std::string rate_text(const RateConfig& rate) {
  if (rate.per_s == 0) return "at will";
  return std::to_string(rate.per_s) + " a second, " + std::to_string(rate.burst) + " at once";
}

void add(Settings& settings, ChangeKind kind, const std::string& subject, const char* field,
         std::string text) {
  settings.push_back({.kind = kind, .subject = subject, .field = field, .text = std::move(text)});
}

// Enough to tell two apart. Of a secret it is so little that nobody can guess the secret by it.
std::string fingerprint(std::string_view bytes, std::size_t digits) {
  return hex(digest_of(bytes)).substr(0, digits);
}

std::string key_text(const KeyConfig& key) {
  const bool is_secret = key.public_key.empty();
  return key.algorithm + ", fingerprint " +
         (is_secret ? fingerprint(key.secret, 4) : fingerprint(key.public_key, 16));
}

void add_issuer(Settings& settings, const IssuerConfig& issuer) {
  const auto put = [&](const char* field, std::string text) {
    add(settings, ChangeKind::identity, "issuer " + issuer.name, field, std::move(text));
  };
  std::string tiers;
  for (const IssuerTier& one : issuer.tiers)
    tiers += (tiers.empty() ? "" : ", ") + one.value + " is " + one.tier;
  std::string keys;
  for (const IssuerKey& key : issuer.keys) keys += key.kid + " " + key.algorithm + " " + key.der;
  put("tokens", issuer.issuer + " for " + issuer.audience + ", users by " + issuer.user_claim);
  put("keys", std::to_string(issuer.keys.size()) + ", fingerprint " + fingerprint(keys, 16));
  put("tiers", issuer.tier_claim.empty() ? "the default" : issuer.tier_claim + ": " + tiers);
}

void add_identity(Settings& settings, const IdentityConfig& identity) {
  add(settings, ChangeKind::identity, anonymous_callers, "tier",
      identity.anonymous ? identity.anonymous_tier : "not let in");
  add(settings, ChangeKind::identity, tierless_tokens, "tier", identity.default_tier);
  add(settings, ChangeKind::identity, "tokens", "audience", identity.audience);
  for (const KeyConfig& key : identity.keys)
    add(settings, ChangeKind::identity, "key " + key.kid, "accepted", key_text(key));
  for (const IssuerConfig& issuer : identity.issuers) add_issuer(settings, issuer);
}

}  // namespace

std::vector<SettingTerms> settings_of(const Config& config) {
  Settings settings;
  for (const SizeConfig& size : config.sizes) {
    add(settings, ChangeKind::size, size.name, "factor", std::to_string(size.factor));
    add(settings, ChangeKind::size, size.name, "slots", std::to_string(size.slots));
  }
  add(settings, ChangeKind::rate, "account", "requests", rate_text(config.rates.account));
  add(settings, ChangeKind::rate, "address", "connections", rate_text(config.rates.address));
  add_identity(settings, config.identity);
  for (const GroupConfig& group : config.groups) {
    add(settings, ChangeKind::group, group.name, "users", list_text(group.users));
    add(settings, ChangeKind::group, group.name, "time", span_text(group.from, group.until));
  }
  for (const ReservationConfig& one : config.reservations) {
    add(settings, ChangeKind::reservation, one.name, "slots",
        std::to_string(one.slots) + " of " + one.partition);
    add(settings, ChangeKind::reservation, one.name, "users", list_text(one.users));
    add(settings, ChangeKind::reservation, one.name, "time", span_text(one.from, one.until));
  }
  return settings;
}

}  // namespace gpupool
