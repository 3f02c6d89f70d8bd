#include "actors/ledger/blob.h"

#include <numeric>

#include "actors/ledger/batch.h"
#include "base/pack.h"
#include "config/limits.h"

namespace gpupool {
namespace {

// More than what a text or the rest of a request takes beside its characters.
constexpr std::size_t text_overhead = 5;
constexpr std::size_t rest_overhead = 64;

// Without packing it: most requests are far smaller than a record may be.
std::size_t most_bytes(const JobRequest& request) {
  const auto add = [](std::size_t sum, const Argument& one) {
    return sum + one.key.size() + one.value.size() + 2 * text_overhead + 1;
  };
  return std::accumulate(request.arguments.begin(), request.arguments.end(),
                         request.app.size() + request.size.size() + rest_overhead, add);
}

bool exceeds_a_record(std::size_t bytes) {
  return std::cmp_greater(bytes, limits::request_inline_bytes_max);
}

}  // namespace

std::string blob_of(const JobRequest& request) {
  if (!exceeds_a_record(most_bytes(request))) return {};
  std::string bytes = pack(request);
  return exceeds_a_record(bytes.size()) ? bytes : std::string();
}

BlobRef blob_ref(std::string_view bytes) {
  return {.hash = hex(digest_of(bytes)), .bytes = static_cast<std::int64_t>(bytes.size())};
}

Hold outline_of(const Hold& hold) {
  Hold outline = hold;
  JobRequest body = hold.body;
  body.arguments.clear();
  outline.body = std::move(body);
  return outline;
}

Result<Hold> with_blob(const Hold& outline, std::string_view bytes) {
  const std::string of = "the request of job " + std::to_string(outline.job.value) + ", " +
                         std::to_string(outline.blob->bytes) + " bytes beside the records, ";
  const auto damage = [&](const std::string& what) {
    return Error{.code = Errc::journal_corrupt,
                 .want = static_cast<std::int64_t>(outline.job.value),
                 .detail = of + what};
  };
  if (bytes.empty()) return damage("is missing");
  auto request = unpack<JobRequest>(bytes);
  if (blob_ref(bytes).hash != outline.blob->hash || !request)
    return damage("is not as it was written");
  Hold whole = outline;
  whole.body = std::move(*request);
  return whole;
}

BlobChanges blob_changes(std::span<const Record> batch) {
  BlobChanges changes;
  for (const Record& record : batch) {
    if (const auto* opened = std::get_if<HoldOpened>(&record.body)) {
      if (!opened->blob->empty()) changes.added.emplace(opened->hold->job, opened->blob);
    } else if (const auto* settled = std::get_if<HoldSettled>(&record.body)) {
      if (settled->has_blob && changes.added.erase(settled->job) == 0)
        changes.removed.push_back(settled->job);
    }
  }
  return changes;
}

}  // namespace gpupool
