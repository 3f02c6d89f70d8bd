#include "actors/rules.h"

#include "actors/describe.h"
#include "config/limits.h"

namespace gpupool {
namespace {

// "210", "7.5": as a configuration has it.
std::string in_seconds(Duration value) {
  std::string text = seconds_text(value);
  text.resize(text.find(' '));
  return text.ends_with(".0") ? text.substr(0, text.size() - 2) : text;
}

std::string of_app(const Refusal& refusal, std::string_view key) {
  return Setting{"apps", refusal.app, key}.text();
}

Setting of_tier(const Refusal& refusal, std::string_view key) {
  return {"tiers", refusal.balance.tier, key};
}

std::string allowance(const Refusal& refusal) {
  const Setting setting = of_tier(refusal, "allowance_s");
  const std::string text =
      refusal.balance.at ? setting.equals(Duration{refusal.balance.allowance.ms}) : setting.text();
  return refusal.detail.empty() ? text : text + "; " + refusal.detail;
}

std::string illegal_duration(const Refusal& refusal) {
  if (refusal.want <= 0) return "fixed: a duration is more than 0 s";
  if (!is_tiers_cap(refusal))
    return Setting{"apps", refusal.app, "longest_s"}.equals(Duration{refusal.have});
  const std::string tiers =
      of_tier(refusal, "longest_s").equals(Duration{refusal.balance.longest.ms});
  if (refusal.factor == 1) return tiers;
  return tiers + " / " +
         Setting{"sizes", refusal.size, "factor"}.equals(std::int64_t{refusal.factor});
}

std::string size_unavailable(const Refusal& refusal) {
  return Setting{"sizes", refusal.size, "slots"}.equals(refusal.want) +
         "; where they have to lie: " + of_app(refusal, "partition") + " and spread; the largest " +
         "shape there: " + std::to_string(refusal.have) + (refusal.have == 1 ? " slot" : " slots");
}

std::string id_expired() {
  return "fixed: an id is good for " + countdown_text(Duration{limits::id_age_ms_max}) +
         " (h:mm:ss) and may be dated " + countdown_text(Duration{limits::id_future_ms_max}) +
         " ahead";
}

}  // namespace

std::string Setting::text() const {
  return "[[" + std::string(table) + "]] " + std::string(name) + (name.empty() ? "" : ".") +
         std::string(key);
}

std::string Setting::equals(Duration value) const { return text() + " = " + in_seconds(value); }

std::string Setting::equals(std::int64_t value) const {
  return text() + " = " + std::to_string(value);
}

DeclaredBy declared_by(const JobRequest& body, Duration learned) {
  if (body.declared > Duration{}) return DeclaredBy::request;
  return learned > Duration{} ? DeclaredBy::learned : DeclaredBy::app;
}

std::string text_of(DeclaredBy by, const std::string& app) {
  switch (by) {
    case DeclaredBy::request:
      return "--duration";
    case DeclaredBy::app:
      return Setting{"apps", app, "default_duration_s"}.text();
    case DeclaredBy::learned:
      return Setting{"apps", app, "duration"}.text() + " = \"auto\"";
    case DeclaredBy::unknown:
      break;
  }
  return "";
}

bool is_tiers_cap(const Refusal& refusal) {
  const GpuTime longest = refusal.balance.longest;
  return refusal.factor > 0 && longest > GpuTime{} &&
         duration_for(longest, refusal.factor) == Duration{refusal.have};
}

bool is_pool_fault(Errc cause) {
  switch (cause) {
    case Errc::executor_crashed:
    case Errc::executor_stalled:
    case Errc::start_limit_missed:
    case Errc::node_lost:
    case Errc::device_failed:
    case Errc::lease_refused:
    case Errc::result_not_stored:
    case Errc::ledger_unavailable:
      return true;
    default:
      return false;
  }
}

// A start that came too late may be the caller's doing: of an external app it is their process.
std::string uncharged_text(const Receipt& receipt) {
  const bool has_failed = receipt.outcome == Outcome::failed;
  if (receipt.charged != GpuTime{} || receipt.outcome == Outcome::succeeded) return "";
  if (has_failed && is_pool_fault(receipt.cause) && receipt.cause != Errc::start_limit_missed)
    return "the pool's fault: nothing is charged";
  if (receipt.ran != Duration{} || receipt.cause == Errc::program_failed) return "";
  return "it had not begun to run: nothing is charged";
}

std::string rule_of(const Refusal& refusal) {
  switch (refusal.code) {
    case Errc::bad_request:
      if (refusal.app.empty()) return "";
      return "fixed: the form of a request; its size is one of [[sizes]], and " +
             of_app(refusal, "parameters") + " are what it may give";
    case Errc::unauthenticated:
      return "[[identity.keys]] and [[identity.issuers]]: whose tokens are good; [identity] "
             "anonymous: whether one is needed; [[tiers]]: which tiers there are";
    case Errc::id_expired:
      return id_expired();
    case Errc::id_reused:
      return "fixed: an id stands for one request";
    case Errc::unknown_app:
      return "[[apps]] has none of this name";
    case Errc::forbidden:
      if (refusal.app.empty()) return "";  // of a question, or an operator's command
      return of_app(refusal, refusal.detail.starts_with(tiers_open_to) ? "tiers" : "secrets");
    case Errc::illegal_duration:
      return illegal_duration(refusal);
    case Errc::too_many_jobs:
      return of_tier(refusal, "jobs_max").equals(refusal.have);
    case Errc::size_unavailable:
      return size_unavailable(refusal);
    case Errc::pool_unavailable:
      return of_app(refusal, "partition") +
             ": a node with slots of it has to be connected and take jobs (`gpupool drain` and "
             "`gpupool resume`)";
    case Errc::overloaded:
      if (refusal.detail.empty()) return "[broker] queue_max = " + std::to_string(refusal.have);
      return "fixed: at most " + std::to_string(refusal.have);
    case Errc::promise_too_late:
      return "--max-wait of the request, and the promise: it counts with longest_s and "
             "start_limit_s of [[apps]], kill_grace_s and slot_check_s of [worker]";
    case Errc::quota_exceeded:
      return allowance(refusal);
    case Errc::ledger_unavailable:
      return "[ledger] journal: a hold counts once it is written there";
    case Errc::rate_limited:
      return "[rates] account_per_s and account_burst";
    default:
      return "";
  }
}

}  // namespace gpupool
