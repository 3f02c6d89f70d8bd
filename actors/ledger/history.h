#pragma once
// History: what happened, read from the journal: every job's receipt and story, every account's
// usage by the day. A projection: it decides nothing, may lag behind the ledger, never answers from
// a state older than the question, and can be made anew from the journal. It pulls: at most one
// ReadJournal is out, so that it is never given more than it can take. If its store belongs to
// another journal, it begins from the start by itself. If store or journal fail, it answers
// history_unavailable and tries again with the next question. Owns the questions that wait; the
// store outlives it. One thread.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "actors/effects.h"
#include "actors/ledger/history_store.h"

namespace gpupool {

// One more record of this job, live or read again. The first is its HoldOpened.
void add_to(HistoryJob& job, const Record& record);

class History {
 public:
  explicit History(HistoryStore& store) : store_(store) {}

  // The first Tick lets it take up where the store is and ask the ledger for what follows.
  Effects step(const ToHistory& message);

  // The last record that it knows.
  std::uint64_t applied() const { return mark_.sequence; }
  // What it cannot do at the moment, and why; for the log.
  const std::optional<Error>& trouble() const { return trouble_; }
  // How often it began from the start because its store did not belong to the journal.
  std::uint64_t rebuilds() const { return rebuilds_; }

 private:
  void handle(const Tick& tick, Effects& effects);
  void handle(const JournalRead& read, Effects& effects);
  template <class Question>
  void handle(const Question& question, Effects& effects);
  Status answer(const ReceiptsAsked& asked, Effects& effects);
  Status answer(const ReceiptAsked& asked, Effects& effects);
  Status answer(const StoryAsked& asked, Effects& effects);
  Status answer(const UsageAsked& asked, Effects& effects);
  Status answer(const Recall& recall, Effects& effects);
  void refuse(const ReceiptsAsked& asked, Effects& effects) const;
  void refuse(const ReceiptAsked& asked, Effects& effects) const;
  void refuse(const StoryAsked& asked, Effects& effects) const;
  void refuse(const UsageAsked& asked, Effects& effects) const;
  void refuse(const Recall& recall, Effects& effects) const;
  void answer_ripe(Effects& effects);
  void refuse_all(Effects& effects);
  Result<std::optional<HistoryJob>> find(JobId id);

  Status load();
  Status apply(const std::vector<std::string>& batches);
  struct Draft;
  void take(const Record& record, Draft& draft);
  Status begin_anew();
  void ask_ledger(Effects& effects);

  HistoryStore& store_;
  JournalTail mark_;
  std::unordered_map<JobId, HistoryJob, IdHash> open_;
  bool loaded_ = false;     // mark_ and open_ are the store's
  bool reading_ = false;    // the ledger owes an answer
  bool confirmed_ = false;  // the journal has what is here
  std::optional<Error> trouble_;
  std::uint64_t rebuilds_ = 0;
  std::multimap<std::uint64_t, ToHistory> waiting_;  // by how far it has to come for them
};

}  // namespace gpupool
