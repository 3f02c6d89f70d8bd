#pragma once
// Uploads: the files that callers' jobs work on, as they arrive: archives of some megabytes, in
// pieces, each an account's own, named by its hash. They lie in the journal beside the records, so
// they are as durable as a hold and every broker of the pool has them, but are no part of the
// ledger's state: a hold only names one. What no open job works on is forgotten after an hour.
// Always bounded, for an account and altogether. One thread, the ledger's.

#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "actors/effects.h"
#include "actors/ledger/journal.h"

namespace gpupool {

class Uploads {
 public:
  explicit Uploads(Journal& journal) : journal_(journal) {}

  // What is there at a start.
  Status recover();

  // A piece, or a question how far an upload has come: answered by write(), together with all
  // others that came before the next commit. `in_use`: asked only if there is need to forget some.
  using InUse = std::function<std::set<UploadName>()>;
  void take(Instant now, const StoreUpload& piece, const InUse& in_use);
  // Of a hold to be: bad_request unless the files that it names are there, whole. Its place among
  // the other checks stays.
  void check(Instant now, Reserve& reserve);
  // One piece for the run that works on it.
  void take(const FetchFiles& wanted);

  bool waiting() const { return !taken_.empty() || !wanted_.empty(); }
  std::size_t bytes_waiting() const { return bytes_waiting_; }
  // Makes what was taken durable and answers it.
  void write(Effects& answers);

 private:
  struct Kept {
    std::int64_t total = 0;
    std::int64_t stored = 0;  // of it, from the beginning
    Instant touched{};
  };

  UploadStored examine(Instant now, const StoreUpload& piece, const InUse& in_use);
  Status make_room(Instant now, const UploadName& name, std::int64_t bytes, const InUse& in_use);
  void forget(Instant now, const std::set<UploadName>& in_use);
  std::int64_t bytes_of(const AccountId& account) const;
  std::int64_t count_of(const AccountId& account) const;

  Journal& journal_;
  std::map<UploadName, Kept> kept_;  // what of it the next write() adds is counted already
  std::int64_t bytes_ = 0;           // of all their totals
  std::vector<UploadPiece> taken_;
  std::vector<std::pair<UploadStored, bool>> answers_;  // and whether a piece came with it
  std::vector<FetchFiles> wanted_;
  std::size_t bytes_waiting_ = 0;
};

}  // namespace gpupool
