// What a client is told that may not have what it asked for.
#include <algorithm>

#include "actors/describe.h"
#include "actors/session/request_shape.h"
#include "actors/session/session.h"
#include "config/limits.h"

namespace gpupool {

Refusal Session::refusal_of(const Error& error) const {
  Refusal refusal{.code = error.code, .want = error.want, .have = error.have};
  refusal.recognised_by = caller_.recognised_by;
  refusal.balance.account = caller_.account;
  refusal.balance.tier = caller_.tier;
  refusal.detail = error.detail;
  return refusal;
}

Refusal Session::refusal_of(const Error& error, const JobRequest& body) const {
  Refusal refusal = refusal_of(error);
  // A name that breaks its bounds is not carried back.
  const auto fit_to_repeat = [](const std::string& name) {
    return name.size() <= static_cast<std::size_t>(limits::name_bytes_max) && is_utf8(name);
  };
  if (fit_to_repeat(body.app)) refusal.app = body.app;
  if (fit_to_repeat(body.size)) refusal.size = body.size;
  const AppConfig* app = config_->app(refusal.app);
  if (refusal.size.empty() && app) refusal.size = app->size;
  if (const SizeConfig* size = config_->size(refusal.size)) refusal.factor = size->factor;
  Duration wanted = body.declared;
  if (app && wanted == Duration{}) wanted = app->automatic ? app->longest : app->default_duration;
  refusal.declared = std::clamp(wanted, Duration{}, Duration{limits::duration_ms_max});
  refusal.cost = cost_of(refusal.declared, refusal.factor);
  return refusal;
}

Refusal Session::refusal_of(const Error& error, const ClientSubmit& submit) const {
  Refusal refusal = refusal_of(error, submit.body);
  refusal.request = submit.request;
  return refusal;
}

// Every refusal leaves with its sentence and hint, whoever found it.
void Session::refuse(std::uint64_t query, Refusal refusal) {
  refusal.sentence = sentence_of(refusal);
  refusal.hint = hint_of(refusal);
  out_.to(to_console(), ToConsole{RefusalNoted{refusal.code}});
  tell_client(SessionRefused{.query = query, .refusal = std::move(refusal)});
}

void Session::refuse_with_balance(std::uint64_t query, Refusal refusal) {
  const std::uint64_t number = remember(Refused{query, std::move(refusal)});
  out_.to(to_ledger(), ToLedger{QuotaQuery{.session = id_, .query = number, .caller = caller_}});
}

void Session::answer_error(std::uint64_t query, const Error& error) {
  tell_client(SessionError{.query = query,
                           .code = error.code,
                           .want = error.want,
                           .have = error.have,
                           .detail = error.detail});
}

}  // namespace gpupool
