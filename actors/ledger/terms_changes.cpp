#include "actors/ledger/terms_changes.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <tuple>
#include <utility>

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

std::string sizes_text(const std::vector<SettingTerms>& settings) {
  std::string text;
  for (const SettingTerms& one : settings)
    if (one.kind == ChangeKind::size && one.field == "factor")
      text += (text.empty() ? "" : ", ") + one.subject + " x " + one.text;
  return text;
}

std::set<std::string> words_of(const std::string& list) {
  std::set<std::string> words;
  std::istringstream in(list);
  for (std::string word; std::getline(in >> std::ws, word, ',');) words.insert(word);
  return words;
}

// "; came: ada, bob, and 3 more"; nothing of nobody.
std::string named_text(const char* what, const std::set<std::string>& words,
                       const std::set<std::string>& others) {
  constexpr std::size_t named_max = 5;
  std::vector<std::string> found;
  std::set_difference(words.begin(), words.end(), others.begin(), others.end(),
                      std::back_inserter(found));
  std::string text;
  for (std::size_t i = 0; i < std::min(found.size(), named_max); ++i)
    text += (text.empty() ? "; " + std::string(what) + ": " : ", ") + found[i];
  if (found.size() > named_max)
    text += ", and " + std::to_string(found.size() - named_max) + " more";
  return text;
}

// Who came and who went: of two long lists nobody sees it, and a change keeps no long text.
void tell_users(Change& change) {
  const std::set<std::string> old = words_of(change.before);
  const std::set<std::string> now = words_of(change.after);
  const auto count = [](const std::set<std::string>& users) {
    return std::to_string(users.size()) + (users.size() == 1 ? " user" : " users");
  };
  if (!change.before.empty()) change.before = count(old);
  if (!change.after.empty())
    change.after = count(now) + named_text("came", now, old) + named_text("went", old, now);
}

// A ledger from before settings were recorded learns them all at once.
void compare_settings(const std::vector<SettingTerms>& before,
                      const std::vector<SettingTerms>& after, std::vector<Change>& changes) {
  if (before.empty() && !after.empty()) {
    changes.push_back({.kind = ChangeKind::size,
                       .subject = "all",
                       .field = "first on record",
                       .after = sizes_text(after)});
    return;
  }
  using Texts = std::map<std::tuple<ChangeKind, std::string, std::string>, std::string>;
  const auto texts_of = [](const std::vector<SettingTerms>& settings) {
    Texts texts;
    for (const SettingTerms& one : settings) texts[{one.kind, one.subject, one.field}] = one.text;
    return texts;
  };
  const auto compare = [&changes](const SettingTerms& one, std::string old, std::string now) {
    if (old == now) return;
    changes.push_back({.kind = one.kind,
                       .subject = one.subject,
                       .field = one.field,
                       .before = std::move(old),
                       .after = std::move(now)});
    if (one.field == "users") tell_users(changes.back());
  };
  const Texts old = texts_of(before);
  const Texts now = texts_of(after);
  for (const SettingTerms& one : before) {
    const auto found = now.find({one.kind, one.subject, one.field});
    compare(one, one.text, found == now.end() ? "" : found->second);
  }
  for (const SettingTerms& one : after)
    if (old.count({one.kind, one.subject, one.field}) == 0) compare(one, "", one.text);
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
  if (!terms.settings.empty()) text += "; sizes: " + sizes_text(terms.settings);
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
  compare_settings(before.settings, after.settings, changes);
  return changes;
}

bool identity_change_concerns_all(const Change& change) {
  return change.subject == anonymous_callers || change.subject == tierless_tokens;
}

bool app_change_concerns(const Change& change, const std::string& tier, const Terms* terms) {
  if (change.field == open_to) return lists(change.before, tier) || lists(change.after, tier);
  const AppTerms* app = terms == nullptr ? nullptr : named(terms->apps, change.subject);
  return app != nullptr && lists(tiers_text(app->tiers), tier);
}

}  // namespace gpupool
