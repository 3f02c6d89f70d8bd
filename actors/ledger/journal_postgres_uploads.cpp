// Files of callers in the database: rows of their own, beside the batches.
#include <string>

#include "actors/ledger/journal_postgres.h"

namespace gpupool {
namespace {

Error not_written(const std::string& name, const PostgresAnswer& answer) {
  return {.code = Errc::journal_refused, .detail = name + ": " + answer.words};
}

}  // namespace

// One statement for each piece: what a broken connection leaves behind is a shorter upload, which
// its client goes on with. Whether this broker still leads is of no matter to bytes that are named
// by their hash.
Status JournalPostgres::add_to_uploads(std::span<const UploadPiece> pieces) {
  if (over_) return *over_;
  for (const UploadPiece& piece : pieces) {
    const PostgresAnswer answer = session_->run(
        "INSERT INTO " + tables_.uploads +
            " (account, hash, place, total, bytes) VALUES ($1::text, $2::text, $3::bigint,"
            " $4::bigint, $5::bytea) ON CONFLICT DO NOTHING",
        {piece.name.account.text, piece.name.hash, static_cast<std::uint64_t>(piece.offset),
         static_cast<std::uint64_t>(piece.total), PostgresValue::binary(piece.bytes)});
    if (!answer.done()) return not_written(name(), answer);
  }
  return ok();
}

// The names come as one text, since a stream has two columns.
Result<std::vector<UploadFound>> JournalPostgres::uploads() {
  std::vector<UploadFound> found;
  Status visited = ok();
  const PostgresAnswer answer = session_->stream(
      "SELECT max(total), convert_to(hash || ' ' || sum(length(bytes))::text || ' ' || account,"
      " 'UTF8') FROM " +
          tables_.uploads + " GROUP BY account, hash",
      {},
      [&found](std::uint64_t total, std::string_view text) {
        const auto hash_end = text.find(' ');
        const auto stored_end = text.find(' ', hash_end + 1);
        const std::string stored(text.substr(hash_end + 1, stored_end - hash_end - 1));
        found.push_back({.name = {.account = {.text = std::string(text.substr(stored_end + 1))},
                                  .hash = std::string(text.substr(0, hash_end))},
                         .total = static_cast<std::int64_t>(total),
                         .stored = std::stoll(stored)});
        return ok();
      },
      visited);
  if (answer.done()) return found;
  return Error{.code = Errc::system_failed, .detail = name() + ": " + answer.words};
}

Result<std::string> JournalPostgres::upload_piece(const UploadName& upload, std::int64_t offset) {
  std::string found;
  Status visited = ok();
  const PostgresAnswer answer = session_->stream(
      "SELECT place, bytes FROM " + tables_.uploads +
          " WHERE account = $1::text AND hash = $2::text AND place = $3::bigint",
      {upload.account.text, upload.hash, static_cast<std::uint64_t>(offset)},
      [&found](std::uint64_t, std::string_view bytes) {
        found = bytes;
        return ok();
      },
      visited);
  if (answer.done()) return found;
  return Error{.code = Errc::system_failed, .detail = name() + ": " + answer.words};
}

Status JournalPostgres::remove_upload(const UploadName& upload) {
  if (over_) return *over_;
  const PostgresAnswer answer = session_->run(
      "DELETE FROM " + tables_.uploads + " WHERE account = $1::text AND hash = $2::text",
      {upload.account.text, upload.hash});
  return answer.done() ? ok() : Status{not_written(name(), answer)};
}

}  // namespace gpupool
