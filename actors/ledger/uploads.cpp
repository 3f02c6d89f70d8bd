#include "actors/ledger/uploads.h"

#include <algorithm>
#include <utility>

#include "config/limits.h"

namespace gpupool {
namespace {

constexpr Duration keep{limits::upload_keep_ms};
// Of one account: as many of the largest as its bytes allow, and sixteen times as many small ones.
constexpr std::int64_t account_uploads_max =
    16 * limits::account_uploads_bytes_max / limits::files_bytes_max;

Error overloaded(std::int64_t want, std::int64_t have, const std::string& of) {
  return {.code = Errc::overloaded,
          .want = want,
          .have = have,
          .detail = "the files of " + of + " would have " + std::to_string(want) +
                    " bytes in the pool; at most " + std::to_string(have) +
                    " are kept, each for an hour after its last job"};
}

}  // namespace

Status Uploads::recover() {
  auto found = journal_.uploads();
  if (!found) return found.error();
  for (const UploadFound& one : *found) {
    kept_[one.name] = {.total = one.total, .stored = one.stored};
    bytes_ += one.total;
  }
  return ok();
}

std::int64_t Uploads::bytes_of(const AccountId& account) const {
  std::int64_t bytes = 0;
  for (auto it = kept_.lower_bound({account, ""});
       it != kept_.end() && it->first.account == account; ++it)
    bytes += it->second.total;
  return bytes;
}

std::int64_t Uploads::count_of(const AccountId& account) const {
  std::int64_t count = 0;
  for (auto it = kept_.lower_bound({account, ""});
       it != kept_.end() && it->first.account == account; ++it)
    ++count;
  return count;
}

// What can't be removed now is tried again when room is needed next.
void Uploads::forget(Instant now, const std::set<UploadName>& in_use) {
  std::vector<UploadName> old;
  for (auto& [name, upload] : kept_) {
    if (!upload.touched) upload.touched = now;  // from before the start
    if (in_use.contains(name))
      upload.touched = now;
    else if (now - upload.touched >= keep)
      old.push_back(name);
  }
  for (const UploadName& name : old) {
    if (!journal_.remove_upload(name)) return;
    bytes_ -= kept_.at(name).total;
    kept_.erase(name);
  }
}

Status Uploads::make_room(Instant now, const UploadName& name, std::int64_t bytes,
                          const InUse& in_use) {
  const auto lacks = [&]() -> Status {
    const std::int64_t of_account = bytes_of(name.account) + bytes;
    const std::int64_t count = count_of(name.account) + 1;
    if (count > account_uploads_max)
      return Error{.code = Errc::overloaded,
                   .want = count,
                   .have = account_uploads_max,
                   .detail =
                       "this account has as many archives in the pool as it may, each for an "
                       "hour after its last job"};
    if (of_account > limits::account_uploads_bytes_max)
      return overloaded(of_account, limits::account_uploads_bytes_max, "this account");
    if (bytes_ + bytes > limits::uploads_bytes_max)
      return overloaded(bytes_ + bytes, limits::uploads_bytes_max, "all accounts");
    if (std::cmp_greater_equal(kept_.size(), limits::uploads_max))
      return overloaded(bytes_ + bytes, bytes_,
                        "all accounts, " + std::to_string(kept_.size()) + " archives already,");
    return ok();
  };
  if (lacks()) return ok();
  forget(now, in_use());
  return lacks();
}

UploadStored Uploads::examine(Instant now, const StoreUpload& piece, const InUse& in_use) {
  UploadStored answer{.session = piece.session,
                      .answer = {.query = piece.query, .hash = piece.hash}};
  const auto refuse = [&](const Error& error) {
    answer.error = error.code;
    answer.want = error.want;
    answer.have = error.have;
    answer.detail = error.detail;
    return answer;
  };
  const UploadName name{piece.account, piece.hash};
  auto known = kept_.find(name);
  if (known == kept_.end()) {
    if (piece.bytes.empty()) return answer;
    if (const Status room = make_room(now, name, piece.total, in_use); !room)
      return refuse(room.error());
    known = kept_.emplace(name, Kept{.total = piece.total}).first;
    bytes_ += piece.total;
  }
  Kept& upload = known->second;
  upload.touched = now;
  if (upload.total != piece.total)
    return refuse({.code = Errc::bad_request,
                   .detail = "the archive of this hash has " + std::to_string(upload.total) +
                             " bytes, not " + std::to_string(piece.total)});
  // A piece that is there already, or comes too early, changes nothing: the answer says what next.
  if (!piece.bytes.empty() && piece.offset == upload.stored) {
    upload.stored += std::ssize(piece.bytes);
    bytes_waiting_ += piece.bytes.size();
    taken_.push_back(
        {.name = name, .total = piece.total, .offset = piece.offset, .bytes = piece.bytes});
  }
  answer.answer.stored = upload.stored;
  return answer;
}

void Uploads::take(Instant now, const StoreUpload& piece, const InUse& in_use) {
  const std::size_t before = taken_.size();
  UploadStored answer = examine(now, piece, in_use);
  answers_.emplace_back(std::move(answer), taken_.size() > before);
}

void Uploads::take(const FetchFiles& wanted) { wanted_.push_back(wanted); }

void Uploads::check(Instant now, Reserve& reserve) {
  if (reserve.files.empty()) return;
  const auto found = kept_.find({reserve.caller.account, reserve.files});
  if (found != kept_.end()) found->second.touched = now;
  if (found != kept_.end() && found->second.stored == found->second.total) return;
  if (reserve.verdict != Errc{} && reserve.verdict <= Errc::bad_request) return;
  reserve.verdict = Errc::bad_request;
  reserve.want = reserve.have = 0;
  reserve.detail = "the pool does not have the files that the request names, " +
                   reserve.files.substr(0, 12) + "..., of this account: upload them first";
}

// All or nothing. What was not written is counted no more, so its client sends it again.
void Uploads::write(Effects& answers) {
  Status written = taken_.empty() ? ok() : journal_.add_to_uploads(taken_);
  if (!written)
    for (auto piece = taken_.rbegin(); piece != taken_.rend(); ++piece) {
      Kept& upload = kept_.at(piece->name);
      upload.stored = piece->offset;
      if (upload.stored > 0) continue;
      bytes_ -= upload.total;
      kept_.erase(piece->name);
    }
  for (auto& [answer, has_piece] : answers_) {
    if (has_piece && !written) {
      answer.error = Errc::ledger_unavailable;
      answer.detail = written.error().detail;
    }
    answers.to(to_session(answer.session), ToSession{std::move(answer)});
  }
  for (const FetchFiles& wanted : wanted_) {
    FilesPiece piece{.node = wanted.node,
                     .slot = wanted.slot,
                     .job = wanted.job,
                     .attempt = wanted.attempt,
                     .offset = wanted.offset};
    const UploadName name{wanted.account, wanted.hash};
    const auto known = kept_.find(name);
    auto bytes = known == kept_.end() ? Result<std::string>{std::string{}}
                                      : journal_.upload_piece(name, wanted.offset);
    piece.total = known == kept_.end() ? 0 : known->second.total;
    if (!bytes)
      piece.error = Errc::ledger_unavailable;
    else if (bytes->empty())
      piece.error = Errc::result_gone;
    else
      piece.bytes = *std::move(bytes);
    answers.to(to_broker(), ToBroker{std::move(piece)});
  }
  taken_.clear();
  answers_.clear();
  wanted_.clear();
  bytes_waiting_ = 0;
}

}  // namespace gpupool
