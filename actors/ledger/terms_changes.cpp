#include "actors/ledger/terms_changes.h"

#include <algorithm>

#include "actors/ledger/story.h"
#include "actors/ledger/window_rule.h"

namespace gpupool {
namespace {

constexpr const char* open_to = "open to";  // the field of an app that says which tiers may use it
constexpr const char* everybody = "everybody";

struct Fact {
  std::string field;
  std::string text;
};

std::string tiers_text(const std::vector<std::string>& tiers) {
  if (tiers.empty()) return everybody;
  std::string text;
  for (const std::string& tier : tiers) text += (text.empty() ? "" : ", ") + tier;
  return text;
}

// Everything that there is to a tier or an app: two that differ differ in a fact.
std::vector<Fact> facts_of(const TierTerms& tier) {
  return {{"allowance", seconds_text(tier.allowance.ms)},
          {"longest cost", seconds_text(tier.longest.ms)},
          {"rank", std::to_string(tier.rank)},
          {"jobs at once", std::to_string(tier.jobs_max)}};
}

std::vector<Fact> facts_of(const AppTerms& app) {
  return {{"size", app.size},
          {"default duration", seconds_text(app.default_duration.ms)},
          {"longest duration", seconds_text(app.longest.ms)},
          {"duration", app.automatic ? "auto" : "as declared"},
          {open_to, tiers_text(app.tiers)}};
}

template <class Named>
const Named* named(const std::vector<Named>& all, const std::string& name) {
  const auto it =
      std::find_if(all.begin(), all.end(), [&name](const Named& one) { return one.name == name; });
  return it == all.end() ? nullptr : &*it;
}

// One of the two may be missing.
template <class Named>
void compare(ChangeKind kind, const Named* before, const Named* after,
             std::vector<Change>& changes) {
  const Named& any = before == nullptr ? *after : *before;
  const std::vector<Fact> old = facts_of(any);
  const std::vector<Fact> now = after == nullptr ? old : facts_of(*after);
  for (std::size_t i = 0; i < old.size(); ++i) {
    if (before != nullptr && after != nullptr && old[i].text == now[i].text) continue;
    changes.push_back({.kind = kind,
                       .subject = any.name,
                       .field = old[i].field,
                       .before = before == nullptr ? "" : old[i].text,
                       .after = after == nullptr ? "" : now[i].text});
  }
}

template <class Named>
void compare_all(ChangeKind kind, const std::vector<Named>& before, const std::vector<Named>& after,
                 std::vector<Change>& changes) {
  for (const Named& one : before) compare(kind, &one, named(after, one.name), changes);
  for (const Named& one : after)
    if (named(before, one.name) == nullptr)
      compare(kind, static_cast<const Named*>(nullptr), &one, changes);
}

bool lists(const std::string& tiers, const std::string& tier) {
  return tiers == everybody || (", " + tiers + ", ").find(", " + tier + ", ") != std::string::npos;
}

}  // namespace

std::vector<Change> first_terms(const Terms& terms) {
  std::string text = "tiers:";
  for (const TierTerms& tier : terms.tiers)
    text += (&tier == terms.tiers.data() ? " " : ", ") + tier.name + " " +
            seconds_text(tier.allowance.ms) + " a window";
  text += "; apps:";
  for (const AppTerms& app : terms.apps)
    text += (&app == terms.apps.data() ? " " : ", ") + app.name;
  if (terms.window.length > Duration{}) text += "; windows: " + text_of(terms.window);
  return {{.kind = ChangeKind::tier, .subject = "all", .field = "first terms", .after = text}};
}

std::vector<Change> changes_between(const Terms& before, const Terms& after) {
  std::vector<Change> changes;
  compare_all(ChangeKind::tier, before.tiers, after.tiers, changes);
  compare_all(ChangeKind::app, before.apps, after.apps, changes);
  const auto rule = [](const WindowTerms& window) {
    return window.length > Duration{} ? text_of(window) : "";
  };
  if (before.window != after.window)
    changes.push_back({.kind = ChangeKind::window,
                       .subject = "everybody",
                       .field = "length and start",
                       .before = rule(before.window),
                       .after = rule(after.window)});
  return changes;
}

bool app_change_concerns(const Change& change, const std::string& tier, const Terms* terms) {
  if (change.field == open_to) return lists(change.before, tier) || lists(change.after, tier);
  const AppTerms* app = terms == nullptr ? nullptr : named(terms->apps, change.subject);
  return app != nullptr && lists(tiers_text(app->tiers), tier);
}

}  // namespace gpupool
