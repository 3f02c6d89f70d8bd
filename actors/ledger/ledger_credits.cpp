// What operators order once: credits granted or taken back, and what a window has used adjusted.
// Each has an id, so that an order which is sent twice happens once.

#include "actors/ledger/ledger.h"
#include "actors/ledger/story.h"
#include "base/pack.h"

namespace gpupool {
namespace {

// Everything that the order is about, and who gave it.
template <class Command>
std::uint64_t body_hash_of(Command command) {
  command.ticket = 0;
  return hash_of(pack(ToLedger{std::move(command)}));
}

// Its shape; nothing here depends on an account.
template <class Command>
Status check_shape(const Command& command) {
  const auto bad = [](std::string detail) {
    return Error{.code = Errc::bad_request, .detail = std::move(detail)};
  };
  constexpr GpuTime most{limits::credits_ms_max};
  if (command.account.text.empty()) return bad("name an account, e.g. user:ada");
  if (std::cmp_greater(command.account.text.size(), limits::account_bytes_max))
    return bad("an account's name has at most " + std::to_string(limits::account_bytes_max) +
               " bytes, this one has " + std::to_string(command.account.text.size()));
  if (command.amount == GpuTime{}) return bad("an amount is more than 0 s");
  if (command.amount > most || command.amount < GpuTime{} - most)
    return bad("an amount is at most " + text_of(most));
  if (command.why.empty())
    return bad("say why: the account's owner and every operator can read it");
  if (std::cmp_greater(command.why.size(), limits::detail_bytes_max))
    return bad("a reason has at most " + std::to_string(limits::detail_bytes_max) +
               " bytes, this one has " + std::to_string(command.why.size()));
  return ok();
}

template <class Command>
std::vector<Change> change_by(Instant now, const Command& command, const std::string& field,
                              GpuTime before, GpuTime after) {
  return {{.at = now,
           .who = clipped(command.who),
           .kind = ChangeKind::account,
           .subject = command.account.text,
           .field = field,
           .before = text_of(before),
           .after = text_of(after),
           .why = command.why}};
}

}  // namespace

void Ledger::handle(Instant now, const GrantCredits& command, Effects& effects) {
  obey_once(now, command, effects);
}

void Ledger::handle(Instant now, const AdjustQuota& command, Effects& effects) {
  obey_once(now, command, effects);
}

// In this order: its shape, its id, its account's numbers.
template <class Command>
void Ledger::obey_once(Instant now, const Command& command, Effects& effects) {
  const auto answer = [&](Changed changed) {
    changed.ticket = command.ticket;
    effects.to(to_console(), ToConsole{std::move(changed)});
  };
  const auto refuse = [&](const Error& why) {
    answer({.error = why.code, .detail = why.detail, .want = why.want, .have = why.have});
  };
  if (const Status shape = check_shape(command); !shape) return refuse(shape.error());
  const auto known = order_ids_.find(now, command.id, body_hash_of(command));
  if (!known) return refuse(known.error());
  if (known->has_value()) return answer({.changes = **known});
  Result<RecordBody> decided = decide(now, command);
  if (!decided) return refuse(decided.error());
  std::vector<Change> changes;
  std::visit(
      [&changes](const auto& body) {
        if constexpr (requires { body.changes; }) changes = body.changes;
      },
      *decided);
  record(now, std::move(*decided), effects);
  answer({.changes = std::move(changes)});
}

// ---- Credits -----------------------------------------------------------------------------------

// What is held of them pays for jobs that were admitted, so it stays.
Result<RecordBody> Ledger::decide(Instant now, const GrantCredits& command) const {
  const Account* account = this->account(command.account);
  const GpuTime before = account == nullptr ? GpuTime{} : account->credits;
  const GpuTime held = account == nullptr ? GpuTime{} : account->credits_held;
  const GpuTime after = before + command.amount;
  if (command.amount < GpuTime{} && after < held)
    return Error{.code = Errc::quota_exceeded,
                 .want = -command.amount.ms,
                 .have = (before - held).ms,
                 .detail = command.account.text + " has " + text_of(before) +
                           " of credits, of which open jobs hold " + text_of(held) + ": at most " +
                           text_of(before - held) + " can be taken back, and " +
                           text_of(GpuTime{} - command.amount) + " were to be"};
  if (after > GpuTime{limits::credits_ms_max})
    return Error{.code = Errc::bad_request,
                 .detail = command.account.text + " has " + text_of(before) +
                           " of credits, and an account can have at most " +
                           text_of(GpuTime{limits::credits_ms_max})};
  return RecordBody{CreditsGranted{.id = command.id,
                                   .body_hash = body_hash_of(command),
                                   .account = command.account,
                                   .amount = command.amount,
                                   .before = before,
                                   .after = after,
                                   .changes = change_by(now, command, "credits", before, after)}};
}

// Who never asked for anything gets an account by it; who was nobody but for their credits goes
// with the last of them.
void Ledger::enact(const CreditsGranted& granted, Instant at) {
  AccountNumber number = accounts_.find(granted.account);
  if (number == RowTable<AccountRow>::none) number = accounts_.insert({.id = granted.account});
  Account& account = accounts_.change(number).account;
  account.credits += granted.amount;
  GPUPOOL_ENSURE(account.credits >= account.credits_held, granted.account, account.credits,
                 account.credits_held);
  orders_.enact(granted);
  order_ids_.remember(granted.id, granted.body_hash, granted.changes);
  if (is_anonymous(granted.account)) drop_if_done(number, at);
}

// ---- Adjustments -------------------------------------------------------------------------------

// Between 0 and what the allowance leaves beside open holds, so that every rule about a window goes
// on holding.
Result<RecordBody> Ledger::decide(Instant now, const AdjustQuota& command) const {
  const std::string& name = command.account.text;
  const bool gives_back = command.amount < GpuTime{};
  const GpuTime size = gives_back ? GpuTime{} - command.amount : command.amount;
  const Account* account = this->account(command.account);
  const Window* window = account == nullptr ? nullptr : account->window_at(now);
  if (window == nullptr)
    return Error{
        .code = Errc::quota_exceeded,
        .want = size.ms,
        .detail = name + " has nothing used or held now: its next job has the whole allowance"};
  if (gives_back && size > window->used)
    return Error{.code = Errc::quota_exceeded,
                 .want = size.ms,
                 .have = window->used.ms,
                 .detail = name + " has used " + text_of(window->used) +
                           " in this window: no more can be given back, and " + text_of(size) +
                           " were to be"};
  const auto tier = limits_of(tier_of(command.account, account->tier));
  const GpuTime allowance = tier ? tier->allowance : GpuTime{};
  const GpuTime left = left_of(allowance, window);
  if (!gives_back && size > left)
    return Error{.code = Errc::quota_exceeded,
                 .want = size.ms,
                 .have = left.ms,
                 .detail = name + " has " + text_of(left) + " left of " + text_of(allowance) +
                           " in this window, with " + text_of(window->used) + " used and " +
                           text_of(window->held) + " held: no more can be charged, and " +
                           text_of(size) + " were to be"};
  const GpuTime after = window->used + command.amount;
  return RecordBody{
      QuotaAdjusted{.id = command.id,
                    .body_hash = body_hash_of(command),
                    .account = command.account,
                    .window_opened = window->opened,
                    .amount = command.amount,
                    .before = window->used,
                    .after = after,
                    .changes = change_by(now, command, "used quota", window->used, after)}};
}

void Ledger::enact(const QuotaAdjusted& adjusted, Instant at) {
  const AccountNumber number = accounts_.find(adjusted.account);
  accounts_.change(number).account.adjust(adjusted.window_opened, adjusted.amount);
  orders_.enact(adjusted);
  order_ids_.remember(adjusted.id, adjusted.body_hash, adjusted.changes);
  if (is_anonymous(adjusted.account)) drop_if_done(number, at);
}

}  // namespace gpupool
