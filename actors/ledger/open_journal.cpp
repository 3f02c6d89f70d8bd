#include "actors/ledger/open_journal.h"

#include "actors/ledger/journal_sqlite.h"
#ifdef GPUPOOL_POSTGRES
#include "actors/ledger/journal_postgres_candidate.h"
#include "base/clock.h"
#endif

namespace gpupool {
namespace {

class SqliteCandidate final : public JournalCandidate {
 public:
  explicit SqliteCandidate(LedgerConfig ledger) : ledger_(std::move(ledger)) {}

  Result<std::unique_ptr<Journal>> look() override {
    auto journal = JournalSqlite::open(ledger_.path, ledger_.reserve_bytes);
    if (!journal) return journal.error();
    return std::unique_ptr<Journal>(std::move(*journal));
  }

 private:
  const LedgerConfig ledger_;
};

}  // namespace

std::string journal_name(const LedgerConfig& ledger) {
  return ledger.journal == JournalKind::sqlite ? ledger.path
                                               : "PostgreSQL, schema " + ledger.postgres_schema;
}

#ifdef GPUPOOL_POSTGRES

namespace {

static_assert(JournalCandidate::look_every == LeadTerms{}.look_every);

PostgresPlace place_of(const LedgerConfig& ledger, std::string pool) {
  return {.conninfo = ledger.postgres,
          .password = ledger.postgres_password,
          .schema = ledger.postgres_schema,
          .pool = std::move(pool)};
}

class PostgresSeat final : public JournalCandidate {
 public:
  explicit PostgresSeat(std::unique_ptr<PostgresCandidate> candidate)
      : candidate_(std::move(candidate)) {}

  Result<std::unique_ptr<Journal>> look() override {
    auto journal = candidate_->look();
    if (!journal) return journal.error();
    return std::unique_ptr<Journal>(std::move(*journal));
  }
  std::string leader() const override { return candidate_->leader(); }

 private:
  const std::unique_ptr<PostgresCandidate> candidate_;
};

}  // namespace

Result<std::unique_ptr<JournalCandidate>> enter_for_journal(
    const Config& config, std::function<void(const Error&)> lost) {
  if (config.ledger.journal == JournalKind::sqlite)
    return std::unique_ptr<JournalCandidate>(std::make_unique<SqliteCandidate>(config.ledger));
  auto candidate = PostgresCandidate::enter(place_of(config.ledger, config.pool),
                                            {.now = boot_time, .lost = std::move(lost)});
  if (!candidate) return candidate.error();
  return std::unique_ptr<JournalCandidate>(std::make_unique<PostgresSeat>(std::move(*candidate)));
}

Result<std::unique_ptr<Journal>> open_postgres_to_read(const LedgerConfig& ledger) {
  auto journal = JournalPostgres::open_to_read(place_of(ledger, ""));
  if (!journal) return journal.error();
  return std::unique_ptr<Journal>(std::move(*journal));
}

Result<std::string> check_postgres(const Config& config) {
  const PostgresPlace place = place_of(config.ledger, config.pool);
  auto session = PostgresSession::connect(place);
  if (!session) return session.error();
  if (const Status fit = prepare_to_write(**session); !fit) return fit.error();
  const auto found = identify(**session, tables_in(**session, place.schema), place);
  if (!found) return found.error();
  return (*session)->name() + ", schema " + place.schema +
         (*found == PostgresSchema::absent ? ", to be made" : "");
}

#else

namespace {

Error not_built() {
  return {.code = Errc::unsupported,
          .detail =
              "ledger.journal is \"postgres\", but this program was built without libpq "
              "(GPUPOOL_POSTGRES)"};
}

}  // namespace

Result<std::unique_ptr<JournalCandidate>> enter_for_journal(const Config& config,
                                                            std::function<void(const Error&)>) {
  if (config.ledger.journal != JournalKind::sqlite) return not_built();
  return std::unique_ptr<JournalCandidate>(std::make_unique<SqliteCandidate>(config.ledger));
}

Result<std::unique_ptr<Journal>> open_postgres_to_read(const LedgerConfig&) { return not_built(); }
Result<std::string> check_postgres(const Config&) { return not_built(); }

#endif

}  // namespace gpupool
