#include "actors/ledger/group_commit.h"

#include <algorithm>
#include <iterator>

#include "actors/ledger/blob.h"

namespace gpupool {
namespace {

// Of the commands that the console waits for; none: this is not one of them.
std::optional<std::uint64_t> ticket_of_order(const ToLedger& message) {
  return std::visit(
      [](const auto& one) -> std::optional<std::uint64_t> {
        using Command = std::decay_t<decltype(one)>;
        if constexpr (std::is_same_v<Command, Configure> || std::is_same_v<Command, RevokeToken> ||
                      std::is_same_v<Command, SetAccountTier> ||
                      std::is_same_v<Command, SetDraining> || std::is_same_v<Command, Announce> ||
                      std::is_same_v<Command, GrantCredits> || std::is_same_v<Command, AdjustQuota>)
          return one.ticket;
        else
          return std::nullopt;
      },
      message);
}

}  // namespace

GroupCommit::GroupCommit(const Config& config, Journal& journal)
    : journal_(journal), ledger_(config), uploads_(journal) {}

Status GroupCommit::recover(const std::optional<Snapshot>& snapshot) {
  if (const Status found = uploads_.recover(); !found) return found;
  if (snapshot) {
    Ledger ledger = ledger_;
    RowReader rows(snapshot->state);
    // What follows it in the journal is chained to its record, or it is of another journal.
    const auto tail = journal_.tail();
    const bool is_known =
        tail && (tail->sequence > snapshot->at.sequence ||
                 (tail->sequence == snapshot->at.sequence && tail->digest == snapshot->at.digest));
    snapshot_used_ = is_known && ledger.read_state(rows) &&
                     ledger.last_sequence() == snapshot->at.sequence &&
                     replay_into(ledger, snapshot->at);
    if (snapshot_used_) {
      ledger_ = std::move(ledger);
      snapshot_at_ = snapshot->at.sequence;
      return check_blobs();
    }
  }
  if (const Status replayed = replay_into(ledger_, {}); !replayed) return replayed;
  return check_blobs();
}

Status GroupCommit::replay_into(Ledger& ledger, const JournalTail& from) {
  return journal_.replay(from, [&ledger](const Record& record) {
    ledger.apply(record);
    return ok();
  });
}

Result<Shared<Hold>> GroupCommit::whole(const Shared<Hold>& hold) {
  if (!has_blob(hold)) return hold;
  const auto bytes = journal_.blob(hold->job);
  if (!bytes) return bytes.error();
  auto found = with_blob(hold, *bytes);
  if (!found) return found.error();
  return Shared<Hold>(std::move(*found));
}

// Before anybody is let in: a job that cannot be run any more is damage as any other.
Status GroupCommit::check_blobs() {
  for (const Shared<Hold>& hold : ledger_.holds_with_blobs())
    if (const auto found = whole(hold); !found) return found.error();
  return ok();
}

// To whoever takes the lead: its open holds as they were asked for.
Status GroupCommit::add_blobs(Effects& answers) {
  for (Send& send : answers.send) {
    auto* to_broker = std::get_if<ToBroker>(&send.message);
    auto* leading = to_broker == nullptr ? nullptr : std::get_if<Leading>(to_broker);
    if (leading == nullptr) continue;
    for (OpenHold& open : leading->open) {
      auto found = whole(open.hold);
      if (!found) return found.error();
      open.hold = std::move(*found);
    }
  }
  return ok();
}

std::uint64_t GroupCommit::records_since_snapshot() const {
  return ledger_.last_sequence() - snapshot_at_;
}

Result<GroupCommit::Frozen> GroupCommit::freeze() {
  GPUPOOL_ENSURE(idle(), taken_.size());
  const auto tail = journal_.tail();
  if (!tail) return tail.error();
  GPUPOOL_ENSURE(tail->sequence == ledger_.last_sequence(), tail->sequence);
  snapshot_at_ = tail->sequence;
  return Frozen{.at = *tail, .ledger = std::make_shared<const Ledger>(ledger_)};
}

void GroupCommit::take(Instant now, ToLedger message) {
  if (taken_.empty()) ledger_.begin_batch();
  if (const auto* wanted = std::get_if<ReadJournal>(&message)) reader_ = *wanted;
  take_files(now, message);
  is_lead_asked_ = is_lead_asked_ || std::holds_alternative<Lead>(message);
  const std::size_t records = effects_.journal.size();
  ledger_.step(now, message, effects_);
  for (std::size_t i = records; i < effects_.journal.size(); ++i)
    if (const auto* opened = std::get_if<HoldOpened>(&effects_.journal[i].body))
      blob_bytes_ += opened->blob->size();
  taken_.push_back(std::move(message));
}

// The bytes are kept once.
void GroupCommit::take_files(Instant now, ToLedger& message) {
  if (auto* piece = std::get_if<StoreUpload>(&message)) {
    uploads_.take(now, *piece, [this] {
      std::set<UploadName> names;
      for (const Shared<Hold>& hold : ledger_.holds_with_files())
        names.insert({hold->account, hold->files});
      return names;
    });
    piece->bytes = {};
  } else if (const auto* wanted = std::get_if<FetchFiles>(&message)) {
    uploads_.take(*wanted);
  } else if (auto* reserve = std::get_if<Reserve>(&message)) {
    uploads_.check(now, *reserve);
  }
}

bool GroupCommit::full() const {
  return std::cmp_greater_equal(taken_.size(), limits::ledger_batch_max) ||
         std::cmp_greater_equal(blob_bytes_ + uploads_.bytes_waiting(),
                                limits::ledger_batch_blob_bytes_max);
}

Result<Effects> GroupCommit::commit(Instant now, const ClockStamp& stamp) {
  refusal_.reset();
  Effects answers;
  uploads_.write(answers);
  // Without records there is nothing to wait for: all that these answers saw is durable already.
  if (!effects_.journal.empty()) {
    const Status written = journal_.append(effects_.journal, stamp);
    if (!written && written.error().code != Errc::journal_refused) return written.error();
    if (!written) refusal_ = written.error();
  }
  if (refusal_) {
    ledger_.undo_batch();
    if (const Status settled = settle_from_reserve(now, stamp, answers); !settled)
      return settled.error();
    answer_without_journal(now, *refusal_, answers);
  } else {
    ledger_.keep_batch();
    std::move(effects_.send.begin(), effects_.send.end(), std::back_inserter(answers.send));
  }
  taken_.clear();
  effects_.journal.clear();
  effects_.send.clear();
  blob_bytes_ = 0;
  if (std::exchange(is_lead_asked_, false))
    if (const Status added = add_blobs(answers); !added) return added.error();
  feed_reader(answers);
  return answers;
}

// A job that ends soon is then written once by the history, and not with each of its records.
bool GroupCommit::is_read_due(const Effects& answers) const {
  const std::uint64_t last = ledger_.last_sequence();
  if (reader_->at_once || reader_->after > last) return true;
  if (std::cmp_greater_equal(last - reader_->after, limits::history_page_records)) return true;
  return reader_->after < last &&
         std::any_of(answers.send.begin(), answers.send.end(),
                     [](const Send& send) { return send.to == to_history(); });
}

// Ahead of it stand the questions that this commit answers, which wait for what it brings.
void GroupCommit::feed_reader(Effects& answers) {
  if (!reader_ || !is_read_due(answers)) return;
  JournalRead read;
  const auto batches_max = static_cast<std::size_t>(limits::journal_read_bytes);
  const auto tail = journal_.tail();
  auto batches = journal_.batches_after(reader_->after, batches_max);
  if (!tail || !batches) {
    const Error& why = tail ? batches.error() : tail.error();
    read.error = why.code;
    read.detail = why.detail;
  } else {
    const std::string digest(tail->digest.begin(), tail->digest.end());
    read.is_known = reader_->after < tail->sequence ||
                    (reader_->after == tail->sequence && reader_->digest == digest);
    read.batches = std::move(*batches);
  }
  reader_.reset();
  answers.to(to_history(), ToHistory{std::move(read)});
}

// The settles of the batch as a batch of their own. Without room for them either, they wait: the
// broker sends them again. An error: in doubt.
Status GroupCommit::settle_from_reserve(Instant now, const ClockStamp& stamp, Effects& answers) {
  Effects settled;
  ledger_.begin_batch();
  for (const ToLedger& message : taken_)
    if (std::holds_alternative<Settle>(message)) ledger_.step(now, message, settled);
  const Status written =
      settled.journal.empty() ? ok() : journal_.append_from_reserve(settled.journal, stamp);
  if (!written) {
    ledger_.undo_batch();
    return written.error().code == Errc::journal_refused ? ok() : written;
  }
  ledger_.keep_batch();
  std::erase_if(taken_, [](const ToLedger& one) { return std::holds_alternative<Settle>(one); });
  std::move(settled.send.begin(), settled.send.end(), std::back_inserter(answers.send));
  return ok();
}

// Each message again, on the durable state. What would need a record is undone by itself, so that
// the answers after it do not see it.
void GroupCommit::answer_without_journal(Instant now, const Error& why, Effects& answers) {
  for (const ToLedger& message : taken_) {
    ledger_.begin_batch();
    Effects effects = ledger_.step(now, message);
    if (effects.journal.empty()) {
      ledger_.keep_batch();
      std::move(effects.send.begin(), effects.send.end(), std::back_inserter(answers.send));
      continue;
    }
    ledger_.undo_batch();
    const Error unavailable{.code = Errc::ledger_unavailable, .detail = why.detail};
    if (const auto* reserve = std::get_if<Reserve>(&message))
      answers.to(to_broker(), ToBroker{ledger_.refuse(now, *reserve, unavailable)});
    else if (const auto* extend = std::get_if<Extend>(&message))
      answers.to(to_broker(), ToBroker{NotExtended{.job = extend->job,
                                                   .number = extend->number,
                                                   .code = unavailable.code,
                                                   .detail = unavailable.detail}});
    else if (const auto ticket = ticket_of_order(message))
      answers.to(to_console(),
                 ToConsole{Changed{
                     .ticket = *ticket, .error = unavailable.code, .detail = unavailable.detail}});
  }
}

}  // namespace gpupool
