#include "net/json_output.h"

#include <charconv>

#include "actors/describe.h"
#include "actors/request_id.h"
#include "actors/rules.h"

namespace gpupool {
namespace {

Json request_or_null(const RequestId& id) {
  return id == RequestId{} ? Json(nullptr) : Json(format_request_id(id));
}

Json duration_or_null(Duration duration) {
  return duration == Duration{} ? Json(nullptr) : Json(duration.ms);
}

Json number_or_null(JobId job) { return job ? Json(job.value) : Json(nullptr); }

Json json_of(const Fit& fit) {
  return {{"size", fit.size},
          {"factor", fit.factor},
          {"offered", fit.offered},
          {"longest_ms", fit.longest.ms}};
}

Json json_of(const Happening& happening) {
  return {{"at", time_or_null(happening.at)}, {"text", happening.text}};
}

Json json_of(const Change& change) {
  return {{"at", time_or_null(change.at)},       {"who", change.who},
          {"kind", word_of(change.kind)},        {"subject", change.subject},
          {"field", text_or_null(change.field)}, {"before", text_or_null(change.before)},
          {"after", text_or_null(change.after)}, {"why", text_or_null(change.why)}};
}

std::string key_of(const Column& column) {
  const bool timed = column.kind == CellKind::duration || column.kind == CellKind::amount;
  return timed ? column.name + "_ms" : column.name;
}

// A number that is none is given as it came, so that nothing is lost.
Json value_of(CellKind kind, const std::string& cell) {
  if (kind == CellKind::text) return cell;
  if (cell.empty()) return nullptr;
  if (kind == CellKind::flag) return cell == "1";
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), number);
  if (error != std::errc{} || end != cell.data() + cell.size()) return cell;
  return kind == CellKind::instant ? time_or_null(Instant{number}) : Json(number);
}

Json json_of(const ResultRef& result) {
  if (result.hash.empty()) return nullptr;
  return {{"sha256", result.hash}, {"bytes", result.bytes}, {"media_type", result.media_type}};
}

Json json_of(const Advice& advice) {
  if (advice.app.empty()) return nullptr;
  return {{"app", advice.app},
          {"runs", advice.runs},
          {"own", advice.own},
          {"longest_ms", advice.longest.ms},
          {"declare_ms", duration_or_null(advice.declare)},
          {"first_held_ms", duration_or_null(advice.first_held)},
          {"fits", advice.fits},
          {"text", text_or_null(advice_text(advice))}};
}

Json json_of(const GroupCredits& group) {
  if (group.account == AccountId{}) return nullptr;
  return {{"account", group.account.text},
          {"credits_ms", group.credits.ms},
          {"held_ms", group.held.ms},
          {"until", time_or_null(group.until)}};
}

template <class Item>
Json list_of(const std::vector<Item>& items) {
  Json list = Json::array();
  for (const Item& item : items) list.push_back(json_of(item));
  return list;
}

}  // namespace

Json time_or_null(Instant moment) {
  if (!moment || moment == Instant::never()) return nullptr;
  return utc_text_exact(moment);
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json json_of(const Caller& caller) {
  return {{"account", caller.account.text},
          {"tier", caller.tier},
          {"recognised_by", caller.recognised_by},
          {"operator", caller.is_operator},
          {"token_expires_at", time_or_null(caller.expires)},
          {"token_id", text_or_null(caller.token_id)}};
}

Json json_of(const Balance& balance) {
  return {{"account", balance.account.text},
          {"tier", balance.tier},
          {"allowance_ms", balance.allowance.ms},
          {"used_ms", balance.used.ms},
          {"held_ms", balance.held.ms},
          {"left_ms", balance.left.ms},
          {"longest_cost_ms", balance.longest.ms},
          {"window_opened_at", time_or_null(balance.window_opened)},
          {"resets_at", time_or_null(balance.resets_at)},
          {"held_until", time_or_null(balance.held_until)},
          {"open_jobs", balance.open_jobs},
          {"jobs_max", balance.jobs_max},
          {"fits", list_of(balance.fits)},
          {"at", time_or_null(balance.at)},
          {"credits_ms", balance.credits.ms},
          {"credits_held_ms", balance.credits_held.ms},
          {"group", json_of(balance.group)},
          {"advice", json_of(balance.advice)}};
}

// The numbers of an account that nobody looked up are not zeros: they are absent.
Json json_of(const Refusal& refusal) {
  const std::string_view unit = unit_of(refusal.code);
  Json json{{"code", name_of(refusal.code)},          {"number", static_cast<int>(refusal.code)},
            {"sentence", refusal.sentence},           {"hint", text_or_null(refusal.hint)},
            {"rule", text_or_null(rule_of(refusal))}, {"detail", text_or_null(refusal.detail)}};
  json["want"] = unit.empty() ? Json(nullptr) : Json(refusal.want);
  json["have"] = unit.empty() ? Json(nullptr) : Json(refusal.have);
  json["unit"] = unit.empty() ? Json(nullptr) : Json(unit);
  json["request"] = request_or_null(refusal.request);
  json["app"] = text_or_null(refusal.app);
  json["size"] = text_or_null(refusal.size);
  json["factor"] = refusal.factor;
  json["declared_ms"] = refusal.declared.ms;
  json["cost_ms"] = refusal.cost.ms;
  json["first_held_ms"] = duration_or_null(refusal.first_held);
  json["account"] = text_or_null(refusal.balance.account.text);
  json["tier"] = text_or_null(refusal.balance.tier);
  json["recognised_by"] = text_or_null(refusal.recognised_by);
  json["balance"] = refusal.balance.at ? json_of(refusal.balance) : Json(nullptr);
  return json;
}

Json json_of(const Receipt& receipt) {
  Json json{{"job", number_or_null(receipt.job)},
            {"request", request_or_null(receipt.request)},
            {"account", receipt.account.text},
            {"tier", receipt.tier},
            {"app", receipt.app},
            {"size", receipt.size},
            {"factor", receipt.factor},
            {"outcome", word_of(receipt.outcome)},
            {"cause", receipt.cause == Errc{} ? Json(nullptr) : Json(name_of(receipt.cause))},
            {"detail", text_or_null(receipt.detail)}};
  json["declared_ms"] = receipt.declared.ms;
  json["waited_ms"] =
      receipt.leased_at ? Json((receipt.leased_at - receipt.admitted_at).ms) : Json(nullptr);
  json["ran_ms"] = receipt.ran.ms;
  json["held_ms"] = receipt.held.ms;
  json["charged_ms"] = receipt.charged.ms;
  json["given_back_ms"] = receipt.given_back.ms;
  json["left_ms"] = receipt.left.ms;
  json["admitted_at"] = time_or_null(receipt.admitted_at);
  json["promised_start"] = time_or_null(receipt.promise);
  json["leased_at"] = time_or_null(receipt.leased_at);
  json["ended_at"] = time_or_null(receipt.ended_at);
  json["attempts"] = receipt.attempts;
  json["node"] = text_or_null(receipt.node);
  json["result"] = json_of(receipt.result);
  json["log"] = json_of(receipt.log);
  json["held_credits_ms"] = receipt.held_credits.ms;
  json["charged_credits_ms"] = receipt.charged_credits.ms;
  json["credits_from"] = text_or_null(receipt.credits_from.text);
  json["exit_code"] = receipt.exit_code;
  json["signal"] = receipt.signal;
  return json;
}

Json json_of(const JobEvent& event) {
  Json json{{"job", number_or_null(event.job)},
            {"request", request_or_null(event.request)},
            {"state", word_of(event.state)},
            {"attempt", event.attempt}};
  const bool queued = event.state == JobState::queued;
  json["position"] = queued && event.position > 0 ? Json(event.position) : Json(nullptr);
  json["likely_start"] = queued ? time_or_null(event.likely_start) : Json(nullptr);
  json["likely_latest_start"] = queued ? time_or_null(event.likely_latest) : Json(nullptr);
  json["promised_start"] = time_or_null(event.promise);
  json["step"] = event.step;
  json["of_steps"] = event.of_steps;
  json["node"] = text_or_null(event.node);
  json["notice"] = text_or_null(event.notice);
  json["app"] = text_or_null(event.hold->body->app);
  json["size"] = text_or_null(event.hold->body->size);
  json["factor"] = event.hold->factor;
  json["declared_ms"] = event.hold->declared.ms;
  json["held_ms"] = (event.hold->quota_part + event.hold->credits_part).ms;
  json["admitted_at"] = time_or_null(event.hold->admitted_at);
  json["at"] = time_or_null(event.at);
  json["held_until"] = time_or_null(event.held_until);
  if (!event.grant->token.empty())
    json["grant"] = {{"slot", event.grant->slot.value},
                     {"device", event.grant->device},
                     {"token", event.grant->token},
                     {"idle", event.grant->idle}};
  return json;
}

Json json_of(const Error& error) {
  const std::string_view unit = unit_of(error.code);
  return {{"code", name_of(error.code)},
          {"number", static_cast<int>(error.code)},
          {"sentence", describe(error)},
          {"detail", text_or_null(error.detail)},
          {"want", unit.empty() ? Json(nullptr) : Json(error.want)},
          {"have", unit.empty() ? Json(nullptr) : Json(error.have)},
          {"unit", unit.empty() ? Json(nullptr) : Json(unit)}};
}

Json json_of(const QuotaAnswer& answer) {
  return {{"caller", json_of(answer.caller)}, {"balance", json_of(answer.balance)}};
}

Json json_of(const ReceiptsAnswer& answer) {
  return {{"receipts", list_of(answer.receipts)}, {"more", answer.more}};
}

Json json_of(const JobsAnswer& answer) { return {{"jobs", list_of(answer.jobs)}}; }

Json json_of(const ExplainAnswer& answer) { return {{"story", list_of(answer.story)}}; }

Json json_of(const JobDone& done) {
  return {{"receipt", json_of(done.receipt)}, {"balance", json_of(done.balance)}};
}

Json json_of(const ChangesAnswer& answer) {
  return {{"changes", list_of(answer.changes)},
          {"more", answer.more},
          {"known_since", time_or_null(answer.known_since)}};
}

Json json_of(const UsageAnswer& answer) {
  Json days = Json::array();
  for (const UsageDay& day : answer.days)
    days.push_back({{"day", time_or_null(day.day)},
                    {"jobs", day.jobs},
                    {"succeeded", day.succeeded},
                    {"ran_ms", day.ran.ms},
                    {"held_ms", day.held.ms},
                    {"charged_ms", day.charged.ms},
                    {"given_back_ms", (day.held - day.charged).ms}});
  return {{"days", std::move(days)}, {"more", answer.more}};
}

Json json_of(const QuoteAnswer& answer) {
  if (answer.refusal.code != Errc{}) return {{"refused", json_of(answer.refusal)}};
  return {{"quote",
           {{"caller", json_of(answer.caller)},
            {"app", answer.app},
            {"size", answer.size},
            {"factor", answer.factor},
            {"declared_ms", answer.declared.ms},
            {"cost_ms", answer.cost.ms},
            {"first_held_ms", answer.first_held.ms},
            {"first_held_cost_ms", cost_of(answer.first_held, answer.factor).ms},
            {"held_credits_ms", answer.held_credits.ms},
            {"left_ms", answer.left.ms},
            {"likely_start", time_or_null(answer.likely_start)},
            {"likely_latest_start", time_or_null(answer.likely_latest)},
            {"promised_start", time_or_null(answer.promise)},
            {"jobs_ahead", answer.ahead},
            {"balance", json_of(answer.balance)}}}};
}

Json json_of(const Table& table) {
  Json columns = Json::array();
  for (const Column& column : table.columns) columns.push_back(key_of(column));
  Json rows = Json::array();
  for (const auto& cells : table.rows) {
    Json row = Json::object();
    for (std::size_t i = 0; i < table.columns.size() && i < cells.size(); ++i)
      row[key_of(table.columns[i])] = value_of(table.columns[i].kind, cells[i]);
    rows.push_back(std::move(row));
  }
  return {{"title", table.title},
          {"columns", std::move(columns)},
          {"rows", std::move(rows)},
          {"note", text_or_null(table.note)},
          {"more", text_or_null(table.more)}};
}

std::string text_of(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace gpupool
