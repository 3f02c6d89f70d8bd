#pragma once
// JournalPostgres: the journal in a PostgreSQL database, which several brokers may share: one
// leads, the others stand by (actors/ledger/journal_postgres_candidate.h). A batch is one row and
// one statement, in one round trip: it checks the leader's epoch under the row's lock, so that
// nothing of a leader that was deposed ever lands. A lost connection is outcome_unknown and stays
// so: it is never made anew, the process ends and replays. One thread.

#include <memory>
#include <optional>
#include <string>

#include "actors/ledger/blob.h"
#include "actors/ledger/journal.h"
#include "actors/ledger/journal_postgres_layout.h"
#include "actors/ledger/journal_postgres_lead.h"
#include "actors/ledger/recent_batches.h"

namespace gpupool {

class JournalPostgres final : public Journal {
 public:
  // Checks the server and that the schema is a ledger; changes nothing and leads nobody: append()
  // is refused. Errors: config_invalid, system_failed (no server), file_malformed (another
  // program's tables, or another pool's ledger), file_unreadable (no ledger there), unsupported.
  static Result<std::unique_ptr<JournalPostgres>> open_to_read(const PostgresPlace& place);

  // For the candidate: over a session whose schema is a ledger, with the lead.
  static Result<std::unique_ptr<JournalPostgres>> lead(std::unique_ptr<PostgresSession> session,
                                                       PostgresTables tables,
                                                       std::unique_ptr<PostgresLead> lead);

  Status append(std::span<const Record> batch, const ClockStamp& stamp) override;
  Result<std::vector<std::string>> batches_after(std::uint64_t sequence,
                                                 std::size_t bytes_max) override;
  Result<JournalTail> tail() override;
  Result<std::string> blob(JobId job) override;
  Status add_to_uploads(std::span<const UploadPiece> pieces) override;
  Result<std::vector<UploadFound>> uploads() override;
  Result<std::string> upload_piece(const UploadName& upload, std::int64_t offset) override;
  Status remove_upload(const UploadName& upload) override;
  std::shared_ptr<const SureUntil> sure_until() const override {
    return lead_ ? lead_->sure_until() : nullptr;
  }

  std::uint64_t epoch() const { return lead_ ? lead_->epoch() : 0; }
  const std::string& name() const { return session_->name(); }

 private:
  JournalPostgres(std::unique_ptr<PostgresSession> session, PostgresTables tables,
                  std::unique_ptr<PostgresLead> lead);
  Status prepare_to_append();
  Status read_tail();
  Status ended(Error error);
  PostgresAnswer write(const JournalTail& end, const std::string& bytes,
                       const BlobChanges& changes);

  std::unique_ptr<PostgresSession> session_;
  const PostgresTables tables_;
  std::unique_ptr<PostgresLead> lead_;  // none: only to be read
  JournalTail tail_;
  RecentBatches recent_;       // that this process wrote
  std::optional<Error> over_;  // fenced or in doubt: no append any more
};

}  // namespace gpupool
