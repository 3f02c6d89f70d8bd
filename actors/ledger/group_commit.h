#pragma once
// GroupCommit: everything that was taken since the last commit becomes durable in one append, and
// only then do its answers leave, queries included. If the journal cleanly refuses, the state is
// undone; what settles is written from the journal's reserve, if it has one; each admission of the
// batch becomes a refusal (ledger_unavailable, with its numbers), an operator's command is answered
// that it was not done, questions and repeats are answered from the state that is durable, and the
// broker's other commands stay unanswered: it sends them again. In doubt, the
// batch can be neither answered nor undone: the process ends. Callers' files become durable before
// the batch that they came with. Owns the ledger; one thread.

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "actors/ledger/journal.h"
#include "actors/ledger/ledger.h"
#include "actors/ledger/uploads.h"

namespace gpupool {

class GroupCommit {
 public:
  GroupCommit(const Config& config, Journal& journal);

  void use(const Config& config) { ledger_.use(config); }

  // Replays the journal into the ledger. Once, before the first take(). Every open job's blob has
  // to be there (journal_corrupt). With a snapshot of this journal, what follows it; one of another
  // journal is passed over, which snapshot_used() tells.
  Status recover(const std::optional<Snapshot>& snapshot = {});
  bool snapshot_used() const { return snapshot_used_; }

  // The state as it is on record now, for a snapshot: no batch is open. Its rows are written
  // elsewhere, from a copy (Ledger::write_state).
  bool idle() const { return taken_.empty(); }
  std::uint64_t records_since_snapshot() const;
  struct Frozen {
    JournalTail at;
    std::shared_ptr<const Ledger> ledger;
  };
  Result<Frozen> freeze();

  void take(Instant now, ToLedger message);
  // Something waits for a commit; the shell tells itself to commit when this becomes true.
  bool waiting() const { return !taken_.empty(); }
  // The batch is as large as it may become: commit before the next take().
  bool full() const;

  // The answers to send, in the order of what was taken; their journal part is empty. An Error is
  // outcome_unknown (or whatever else the journal could not do): end the process.
  Result<Effects> commit(Instant now, const ClockStamp& stamp);

  // Why the last commit was cleanly refused; none: it was not. For the log.
  const std::optional<Error>& refusal() const { return refusal_; }
  const Ledger& ledger() const { return ledger_; }

 private:
  Status replay_into(Ledger& ledger, const JournalTail& from);
  Result<Shared<Hold>> whole(const Shared<Hold>& hold);
  Status check_blobs();
  void take_files(Instant now, ToLedger& message);
  Status add_blobs(Effects& answers);
  Status settle_from_reserve(Instant now, const ClockStamp& stamp, Effects& answers);
  bool is_read_due(const Effects& answers) const;
  void feed_reader(Effects& answers);
  void answer_without_journal(Instant now, const Error& why, Effects& answers);

  Journal& journal_;
  Ledger ledger_;
  Uploads uploads_;
  std::vector<ToLedger> taken_;
  std::optional<ReadJournal> reader_;  // the history waits for what follows this
  Effects effects_;                    // of what was taken
  std::size_t blob_bytes_ = 0;         // of its holds
  bool is_lead_asked_ = false;         // by one of them
  std::optional<Error> refusal_;
  std::uint64_t snapshot_at_ = 0;  // the last record that a snapshot has
  bool snapshot_used_ = false;
};

}  // namespace gpupool
