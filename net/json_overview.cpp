#include "net/json_overview.h"

#include <algorithm>

#include "actors/describe.h"
#include "actors/histogram.h"

namespace gpupool {
namespace {

Json job_or_null(JobId job) { return job ? Json(job.value) : Json(nullptr); }

Json slot_json(const SlotView& slot) {
  return {{"slot", slot.slot.value},
          {"device", slot.device},
          {"state", word_of(slot.state)},
          {"partition", slot.partition},
          {"reservation", text_or_null(slot.reservation)},
          {"warm_app", text_or_null(slot.warm_app)},
          {"why", text_or_null(slot.why)},
          {"job", job_or_null(slot.job)},
          {"account", text_or_null(slot.account.text)},
          {"app", text_or_null(slot.app)},
          {"since", time_or_null(slot.since)},
          {"ends_by", time_or_null(slot.ends_by)}};
}

Json node_json(const NodeView& node) {
  Json slots = Json::array();
  for (const SlotView& slot : node.slots) slots.push_back(slot_json(slot));
  return {{"name", node.name},       {"state", word_of(node.state)},
          {"build", node.build},     {"seen_at", time_or_null(node.seen)},
          {"devices", node.devices}, {"slots", std::move(slots)}};
}

Json entry_json(const QueueEntry& entry) {
  return {{"job", entry.job.value},
          {"account", entry.account.text},
          {"tier", entry.tier},
          {"app", entry.app},
          {"size", entry.size},
          {"state", word_of(entry.state)},
          {"position", entry.position > 0 ? Json(entry.position) : Json(nullptr)},
          {"declared_ms", entry.declared.ms},
          {"admitted_at", time_or_null(entry.admitted_at)},
          {"promised_start", time_or_null(entry.promise)},
          {"likely_start", time_or_null(entry.likely_start)},
          {"node", text_or_null(entry.node)},
          {"partition", entry.partition}};
}

Json counts_json(const std::vector<CodeCount>& counts) {
  Json object = Json::object();
  for (const CodeCount& one : counts) object[std::string(name_of(one.code))] = one.count;
  return object;
}

Json periods_json(const std::vector<PoolPeriod>& periods) {
  Json list = Json::array();
  for (const PoolPeriod& one : periods)
    list.push_back({{"at", time_or_null(one.at)},
                    {"busy", one.busy_permille / 1000.0},
                    {"started", one.started},
                    {"wait_mean_ms", one.wait_mean.ms},
                    {"wait_p95_ms", one.wait_p95.ms},
                    {"wait_max_ms", one.wait_max.ms},
                    {"refused", one.refused}});
  return list;
}

Json span_json(const SlotSpan& span) {
  return {{"node", span.node},
          {"slot", span.slot.value},
          {"job", span.job.value},
          {"account", span.account.text},
          {"app", span.app},
          {"from", time_or_null(span.from)},
          {"began", time_or_null(span.began)},
          {"to", time_or_null(span.to)}};
}

// The runs that are over, and those that are on.
Json timeline_json(const Overview& overview) {
  Json spans = Json::array();
  for (const SlotSpan& span : overview.spans) spans.push_back(span_json(span));
  for (const NodeView& node : overview.nodes)
    for (const SlotView& slot : node.slots)
      if (slot.job)
        spans.push_back(
            span_json({.node = node.name,
                       .slot = slot.slot,
                       .job = slot.job,
                       .account = slot.account,
                       .app = slot.app,
                       .from = slot.since,
                       .began = slot.state == SlotState::running ? slot.since : Instant{}}));
  return {{"from", time_or_null(overview.spans_from)},
          {"to", time_or_null(overview.at)},
          {"spans", std::move(spans)},
          {"left_out", overview.spans_left_out}};
}

Json milliseconds_or_null(const Histogram& times, std::uint64_t permille) {
  const std::int64_t us = quantile_us(times, commit_bounds_us, permille);
  return us > 0 ? Json(static_cast<double>(us) / 1000) : Json(nullptr);
}

Json ledger_json(const Overview& overview) {
  const LedgerPulse& ledger = overview.ledger;
  return {{"commits", ledger.commits},
          {"records", ledger.records},
          {"commits_per_s", overview.commits_per_minute / 60.0},
          {"records_per_s", overview.records_per_minute / 60.0},
          {"commit_p50_ms", milliseconds_or_null(ledger.commit_times, 500)},
          {"commit_p99_ms", milliseconds_or_null(ledger.commit_times, 990)},
          {"last_sequence", ledger.sequence}};
}

Json audit_json(const AuditSeen& audit) {
  if (!audit.at) return nullptr;
  return {{"at", time_or_null(audit.at)},   {"who", audit.who},
          {"findings", audit.findings},     {"sequence", audit.sequence},
          {"open_holds", audit.open_holds}, {"accounts", audit.accounts}};
}

Json parameter_json(const ParameterConfig& one) {
  Json json{{"name", one.name}, {"required", !one.has_default}, {"about", text_or_null(one.about)}};
  json["default"] = one.has_default ? Json(one.default_value) : Json(nullptr);
  json["choices"] = one.choices;
  json["min"] = json["max"] = nullptr;
  switch (one.kind) {
    case ParameterKind::text:
      json["kind"] = one.choices.empty() ? "text" : "choice";
      json["max"] = one.bytes_max;
      break;
    case ParameterKind::integer:
      json["kind"] = "integer";
      json["min"] = one.least;
      json["max"] = one.most;
      break;
    case ParameterKind::number:
      json["kind"] = "number";
      json["min"] = one.low;
      json["max"] = one.high;
      break;
    case ParameterKind::boolean:
      json["kind"] = "boolean";
      break;
  }
  return json;
}

}  // namespace

Json json_of(const Overview& overview) {
  Json nodes = Json::array();
  for (const NodeView& node : overview.nodes) nodes.push_back(node_json(node));
  Json jobs = Json::array();
  for (const QueueEntry& entry : overview.queue) jobs.push_back(entry_json(entry));
  const PoolPulse& pulse = overview.pulse;
  Json json{{"at", time_or_null(overview.at)},
            {"started_at", time_or_null(overview.started_at)},
            {"announcement", text_or_null(overview.announcement)},
            {"nodes", std::move(nodes)},
            {"slots_left_out", overview.slots_left_out}};
  json["slots"] = {{"total", pulse.slots_free + pulse.slots_busy + pulse.slots_down},
                   {"busy", pulse.slots_busy},
                   {"down", pulse.slots_down}};
  json["queue"] = {
      {"waiting", overview.waiting}, {"jobs", std::move(jobs)}, {"more", overview.more_jobs}};
  json["totals"] = {{"admitted", pulse.admitted},     {"started", pulse.started},
                    {"succeeded", pulse.succeeded},   {"failed", pulse.failed},
                    {"expired", pulse.expired},       {"cancelled", pulse.cancelled},
                    {"requeued", pulse.requeued},     {"promises_missed", pulse.missed},
                    {"charged_ms", pulse.charged.ms}, {"refused", counts_json(overview.refused)}};
  json["refused_last_minute"] = counts_json(overview.refused_minute);
  json["refused_last_hour"] = counts_json(overview.refused_hour);
  json["ledger"] = ledger_json(overview);
  json["hour"] = periods_json(overview.hour);
  json["day"] = periods_json(overview.day);
  json["timeline"] = timeline_json(overview);
  json["audit"] = audit_json(overview.audit);
  return json;
}

Json json_of_offer(const Config& config, const Caller& caller) {
  const auto may_use = [&](const AppConfig& app) {
    return app.tiers.empty() ||
           std::find(app.tiers.begin(), app.tiers.end(), caller.tier) != app.tiers.end();
  };
  Json apps = Json::array();
  for (const AppConfig& app : config.apps) {
    if (!may_use(app)) continue;
    Json parameters = Json::array();
    for (const ParameterConfig& one : app.command.parameters)
      parameters.push_back(parameter_json(one));
    apps.push_back({{"name", app.name},
                    {"executor", word_of(app.executor)},
                    {"size", app.size},
                    {"spread", app.spread == Spread::device    ? "device"
                               : app.spread == Spread::devices ? "devices"
                                                               : "nodes"},
                    {"default_ms", app.default_duration.ms},
                    {"longest_ms", app.longest.ms},
                    {"auto", app.automatic},
                    {"parameters", std::move(parameters)}});
  }
  Json sizes = Json::array();
  for (const SizeConfig& size : config.sizes)
    sizes.push_back({{"name", size.name}, {"slots", size.slots}, {"factor", size.factor}});
  Json tiers = Json::array();
  for (const TierConfig& tier : config.tiers)
    tiers.push_back({{"name", tier.name},
                     {"allowance_ms", tier.allowance.ms},
                     {"longest_cost_ms", tier.longest.ms},
                     {"jobs_max", tier.jobs_max},
                     {"rank", tier.rank}});
  return {{"apps", std::move(apps)},
          {"sizes", std::move(sizes)},
          {"tiers", std::move(tiers)},
          {"window",
           {{"kind", config.window.kind == WindowKind::rolling ? "rolling" : "fixed"},
            {"length_ms", config.window.length.ms}}}};
}

}  // namespace gpupool
