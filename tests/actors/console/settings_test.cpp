// What the console tells the ledger of the configuration's settings.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "actors/console/settings_terms.h"
#include "actors/describe.h"

namespace gpupool {
namespace {

const Instant noon{1'795'348'800'000};

}  // namespace

TEST_CASE("The terms tell sizes, rates, who is of which tier, groups and reservations") {
  Config config = default_config();
  config.sizes = {{.name = "xlarge", .slots = 2, .factor = 3}};
  config.rates.address.per_s = 0;
  config.identity.anonymous = false;
  config.identity.keys = {{.kid = "k1", .algorithm = "EdDSA", .public_key = "a public key"},
                          {.kid = "k2", .secret = "a secret"}};
  config.identity.issuers = {{.name = "uni",
                              .issuer = "https://uni",
                              .audience = "pool",
                              .tier_claim = "roles",
                              .tiers = {{"staff", "pro"}, {"student", "free"}}}};
  config.groups = {{.name = "workshop", .users = {"ada", "*@uni"}, .until = noon}};
  config.reservations = {{.name = "lab", .slots = 4, .users = {"bob"}, .from = noon}};
  std::vector<std::string> texts;
  for (const SettingTerms& one : settings_of(config))
    texts.push_back(std::string(word_of(one.kind)) + " " + one.subject + ", " + one.field + ": " +
                    one.text);
  CHECK(texts ==
        std::vector<std::string>{
            "size xlarge, factor: 3", "size xlarge, slots: 2",
            "rate account, requests: 100 a second, 1000 at once",
            "rate address, connections: at will", "identity anonymous callers, tier: not let in",
            "identity tokens that name no tier, tier: free", "identity tokens, audience: gpupool",
            "identity key k1, accepted: EdDSA, fingerprint adfd000cafe58c3c",
            "identity key k2, accepted: HS256, fingerprint 08cc",
            "identity issuer uni, tokens: https://uni for pool, users by sub",
            "identity issuer uni, keys: 0, fingerprint 0e5751c026e543b2",
            "identity issuer uni, tiers: roles: staff is pro, student is free",
            "group workshop, users: ada, *@uni",
            "group workshop, time: at once until " + utc_text(noon),
            "reservation lab, slots: 4 of default", "reservation lab, users: bob",
            "reservation lab, time: from " + utc_text(noon) + ", for good"});
}

TEST_CASE("Another key under the same id is another setting, and its secret is not told") {
  Config config = default_config();
  config.identity.keys = {{.kid = "k1", .secret = "the first secret"}};
  config.identity.issuers = {{.name = "uni", .keys = {{.kid = "a", .der = "x"}}}};
  const auto before = settings_of(config);
  config.identity.keys[0].secret = "another secret";
  const auto other_key = settings_of(config);
  config.identity.issuers[0].keys[0].der = "y";
  const auto other_issuer = settings_of(config);
  CHECK(before != other_key);
  CHECK(other_key != other_issuer);
  for (const SettingTerms& one : before) CHECK(one.text.find("first") == std::string::npos);
}

}  // namespace gpupool
