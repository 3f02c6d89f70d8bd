#include "actors/worker/executor_log.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::int64_t last_line_bytes_max = 160;
constexpr std::int64_t kept_bytes_max = limits::log_bytes_max - last_line_bytes_max;
constexpr std::size_t ended_max = 512;

}  // namespace

void RunLogs::begin(SlotIndex slot, JobId job, std::uint32_t attempt) {
  const std::scoped_lock lock{mutex_};
  live_[slot] = Live{.run = {job, attempt}};
}

bool RunLogs::add(SlotIndex slot, std::string_view bytes) {
  const std::scoped_lock lock{mutex_};
  const auto it = live_.find(slot);
  if (it == live_.end()) return false;
  Live& log = it->second;
  const auto room = static_cast<std::size_t>(kept_bytes_max - std::ssize(log.kept));
  const std::size_t taken = std::min(room, bytes.size());
  log.kept += bytes.substr(0, taken);
  log.left_out += static_cast<std::int64_t>(bytes.size() - taken);
  return true;
}

std::string RunLogs::text_of(Live log) {
  if (log.left_out == 0) return std::move(log.kept);
  if (!log.kept.ends_with('\n')) log.kept += '\n';
  return log.kept + "[" + std::to_string(log.left_out) +
         " more bytes were written and not kept; a log holds " +
         std::to_string(limits::log_bytes_max) + " bytes]\n";
}

ResultRef RunLogs::end(SlotIndex slot, NodeId node, ResultStore& results) {
  Live log;
  {
    const std::scoped_lock lock{mutex_};
    const auto it = live_.find(slot);
    if (it == live_.end()) return {};
    log = it->second;  // readers see it here until it is in the store
  }
  const RunName run = log.run;
  ResultRef stored;
  const std::string text = text_of(std::move(log));
  if (auto hash =
          text.empty() ? Result<std::string>{std::string{}} : results.store(wall_time(), text);
      hash && !hash->empty())
    stored = {.hash = *std::move(hash),
              .bytes = std::ssize(text),
              .media_type = "text/plain",
              .node = node};
  const std::scoped_lock lock{mutex_};
  live_.erase(slot);
  ended_.push_back({run, stored.hash});
  if (ended_.size() > ended_max) ended_.pop_front();
  return stored;
}

LogChunk RunLogs::read(const FetchLog& fetch, const ResultStore& results) const {
  LogChunk chunk{
      .query = fetch.query, .session = fetch.session, .job = fetch.job, .offset = fetch.offset};
  std::string hash = fetch.hash;
  if (hash.empty()) {
    const RunName run{fetch.job, fetch.attempt};
    const std::scoped_lock lock{mutex_};
    for (const auto& [slot, log] : live_) {
      if (log.run != run) continue;
      chunk.total = std::ssize(log.kept);
      if (fetch.offset >= 0 && fetch.offset < chunk.total)
        chunk.bytes = log.kept.substr(static_cast<std::size_t>(fetch.offset),
                                      static_cast<std::size_t>(limits::chunk_bytes_max));
      return chunk;
    }
    const auto ended = std::find_if(ended_.rbegin(), ended_.rend(),
                                    [&](const Ended& one) { return one.run == run; });
    if (ended == ended_.rend()) {
      chunk.error = Errc::result_gone;
      return chunk;
    }
    chunk.finished = true;
    if (ended->hash.empty()) return chunk;
    hash = ended->hash;
  }
  auto piece = results.read(hash, fetch.offset);
  if (!piece) {
    chunk.error = piece.error().code;
    return chunk;
  }
  chunk.finished = true;
  chunk.total = piece->total;
  chunk.bytes = std::move(piece->bytes);
  return chunk;
}

}  // namespace gpupool
