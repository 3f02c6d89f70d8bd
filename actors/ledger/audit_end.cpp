// What is compared after the last record: the requests that lie beside the records, and the
// ledger's state against the books that were kept.

#include <algorithm>
#include <map>

#include "actors/ledger/audit.h"
#include "actors/ledger/blob.h"

namespace gpupool {

std::vector<JobId> Audit::blobs_wanted() const {
  std::vector<JobId> jobs;
  if (is_broken_) return jobs;
  for (const auto& [job, hold] : open_)
    if (!hold.blob->hash.empty()) jobs.push_back(job);
  return jobs;
}

void Audit::read_blob(JobId job, std::string_view bytes) {
  const OpenHold& hold = open_.at(job);
  concerned_ = hold.account;
  report_.blobs += 1;
  const BlobRef found = blob_ref(bytes);
  const std::string request =
      "after it: the request of job " + std::to_string(job.value) + ", beside the records, is ";
  if (bytes.empty())
    differs(request + "missing");
  else if (found.hash != hold.blob->hash || found.bytes != hold.blob->bytes)
    differs(request + "not as it was written");
}

AuditReport Audit::finish() {
  report_.open = open_.size();
  report_.accounts = books_.size();
  report_.rebuilt = !is_broken_;
  if (report_.rebuilt) compare();
  return report_;
}

// The ledger's state after the last record against the books that were kept here.
void Audit::compare() {
  report_.digest = ledger_.state_digest();
  for (const std::string& finding : ledger_.check_invariants()) find("after it: " + finding);
  for (auto& [id, book] : books_) {
    forget_address(id, at_, book);
    const Account* account = ledger_.account(id);
    concerned_ = id;
    const GpuTime credits = account == nullptr ? GpuTime{} : account->credits;
    const GpuTime credits_held = account == nullptr ? GpuTime{} : account->credits_held;
    if (credits != book.credits || credits_held != book.credits_held)
      differs("after it: the credits of " + id.text + " are not the sum of its records");
    if (account == nullptr && is_anonymous(id)) continue;  // dropped when its window ended
    std::map<Instant, Sums> ledgers;
    if (account != nullptr)
      for (const Window& window : account->windows)
        ledgers[window.opened] = {window.used, window.held, window.open_holds, window.ends};
    const bool same = ledgers.size() == book.windows.size() &&
                      std::equal(ledgers.begin(), ledgers.end(), book.windows.begin(),
                                 [](const auto& a, const auto& b) {
                                   return a.first == b.first && a.second.used == b.second.used &&
                                          a.second.held == b.second.held &&
                                          a.second.open == b.second.open &&
                                          (!b.second.ends || a.second.ends == b.second.ends);
                                 });
    if (!same) differs("after it: the balance of " + id.text + " is not the sum of its records");
  }
}

}  // namespace gpupool
