#include "actors/worker/executor_log.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/pack.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::int64_t last_line_bytes_max = 160;
constexpr std::int64_t kept_bytes_max = limits::log_bytes_max - last_line_bytes_max;
constexpr std::int64_t held_bytes_max = 8 * 1024;
constexpr std::size_t ended_max = 512;

// How the log of a run lies in the store that told its outputs apart. The type is the pool's own
// word for it: what a run wrote can't be taken for it.
constexpr const char* split_log = "application/x-gpupool-log";
struct StoredLog {
  std::vector<LogPart> parts;
  std::string text;
  auto fields() { return std::tie(parts, text); }
};

// A piece of the log from chunk.offset on, with its own parts.
void cut_piece(const std::string& text, const std::vector<LogPart>& parts, LogChunk& chunk) {
  chunk.total = std::ssize(text);
  if (chunk.offset < 0 || chunk.offset >= chunk.total) return;
  chunk.bytes = text.substr(static_cast<std::size_t>(chunk.offset),
                            static_cast<std::size_t>(limits::chunk_bytes_max));
  const std::int64_t end = chunk.offset + std::ssize(chunk.bytes);
  std::int64_t at = 0;
  for (const LogPart& part : parts) {
    const std::int64_t from = std::max(at, chunk.offset);
    at += part.bytes;
    const std::int64_t to = std::min(at, end);
    if (from < to) chunk.parts.push_back({part.stream, to - from});
  }
}

// The whole of it is read for each piece: it is one file of limits::log_bytes_max and a little.
LogChunk read_split(const std::string& hash, const ResultStore& results, LogChunk chunk) {
  std::string bytes;
  for (;;) {
    const auto piece = results.read(hash, std::ssize(bytes));
    if (!piece || piece->total > 2 * limits::log_bytes_max) {
      chunk.error = piece ? Errc::result_gone : piece.error().code;
      return chunk;
    }
    bytes += piece->bytes;
    if (piece->bytes.empty() || std::ssize(bytes) >= piece->total) break;
  }
  const auto log = unpack<StoredLog>(bytes);
  if (!log) {
    chunk.error = Errc::result_gone;
    return chunk;
  }
  chunk.finished = true;
  cut_piece(log->text, log->parts, chunk);
  return chunk;
}

}  // namespace

void RunLogs::begin(SlotIndex slot, JobId job, std::uint32_t attempt) {
  const std::scoped_lock lock{mutex_};
  live_[slot] = Live{.run = {job, attempt}};
}

bool RunLogs::add(SlotIndex slot, std::string_view bytes) {
  const std::scoped_lock lock{mutex_};
  const auto it = live_.find(slot);
  if (it == live_.end()) return false;
  keep(it->second, bytes, LogStream::error);
  return true;
}

void RunLogs::add(SlotIndex slot, const ChildWrote& wrote) {
  const std::scoped_lock lock{mutex_};
  const auto it = live_.find(slot);
  if (it == live_.end()) return;
  Live& log = it->second;
  if (log.parts.empty() && !log.kept.empty())
    log.parts.push_back({LogStream::error, std::ssize(log.kept)});
  if (log.parts.empty()) log.parts.push_back({wrote.stream, 0});
  keep(log, wrote.bytes, wrote.stream);
  log.left_out += std::max<std::int64_t>(wrote.left_out, 0);
}

void RunLogs::remark(SlotIndex slot, const std::string& line) {
  const std::scoped_lock lock{mutex_};
  const auto it = live_.find(slot);
  if (it == live_.end()) return;
  const bool begins_line = it->second.kept.empty() || it->second.kept.ends_with('\n');
  keep(it->second, (begins_line ? "" : "\n") + line + "\n", LogStream::error);
}

// Of a run that changes between its outputs more often than is kept apart, the output that was not
// the last one is held back and goes on in few large parts: each byte stays with its own output,
// which of them came first is lost.
void RunLogs::keep(Live& log, std::string_view bytes, LogStream stream) {
  const std::int64_t used = std::ssize(log.kept) + std::ssize(log.held);
  const auto room = static_cast<std::size_t>(std::max(kept_bytes_max - used, std::int64_t{0}));
  const std::string_view taken = bytes.substr(0, room);
  log.left_out += std::ssize(bytes) - std::ssize(taken);
  if (taken.empty()) return;
  if (log.parts.empty()) {
    log.kept += taken;
    return;
  }
  if (log.parts.back().stream != stream) {
    if (std::ssize(log.parts) >= limits::log_parts_max) {
      log.held += taken;
      if (std::ssize(log.held) >= held_bytes_max) keep_held(log);
      return;
    }
    log.parts.push_back({stream, 0});
  }
  log.kept += taken;
  log.parts.back().bytes += std::ssize(taken);
}

void RunLogs::keep_held(Live& log) {
  if (log.held.empty()) return;
  const bool was_error = log.parts.back().stream == LogStream::error;
  log.parts.push_back({was_error ? LogStream::output : LogStream::error, std::ssize(log.held)});
  log.kept += std::exchange(log.held, {});
}

// The last line says what is missing.
void RunLogs::close(Live& log) {
  keep_held(log);
  if (log.left_out == 0) return;
  std::string line = log.kept.ends_with('\n') ? "[" : "\n[";
  line += std::to_string(log.left_out) + " more bytes were written and not kept; a log holds " +
          std::to_string(limits::log_bytes_max) + " bytes]\n";
  log.kept += line;
  if (log.parts.empty()) return;
  if (log.parts.back().stream != LogStream::error) log.parts.push_back({LogStream::error, 0});
  log.parts.back().bytes += std::ssize(line);
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
  close(log);
  ResultRef stored{.bytes = std::ssize(log.kept),
                   .media_type = log.parts.empty() ? "text/plain" : split_log,
                   .node = node};
  const std::string bytes =
      log.parts.empty()
          ? std::move(log.kept)
          : pack(StoredLog{.parts = std::move(log.parts), .text = std::move(log.kept)});
  auto hash =
      stored.bytes == 0 ? Result<std::string>{std::string{}} : results.store(wall_time(), bytes);
  if (hash && !hash->empty())
    stored.hash = *std::move(hash);
  else
    stored = {};
  const std::scoped_lock lock{mutex_};
  live_.erase(slot);
  ended_.push_back({run, stored.hash, stored.media_type});
  if (ended_.size() > ended_max) ended_.pop_front();
  return stored;
}

void RunLogs::show(SlotIndex slot, std::string_view picture) {
  if (std::ssize(picture) > limits::chunk_bytes_max) return;
  const std::scoped_lock lock{mutex_};
  if (const auto it = live_.find(slot); it != live_.end()) it->second.picture = picture;
}

// Empty once the run is over: then there is its result.
LogChunk RunLogs::read_preview(const FetchLog& fetch) const {
  LogChunk chunk{.query = fetch.query, .session = fetch.session, .job = fetch.job};
  const RunName run{fetch.job, fetch.attempt};
  const std::scoped_lock lock{mutex_};
  for (const auto& [slot, log] : live_)
    if (log.run == run && !log.picture.empty()) chunk.bytes = log.picture;
  chunk.total = std::ssize(chunk.bytes);
  return chunk;
}

LogChunk RunLogs::read(const FetchLog& fetch, const ResultStore& results) const {
  if (fetch.preview) return read_preview(fetch);
  LogChunk chunk{
      .query = fetch.query, .session = fetch.session, .job = fetch.job, .offset = fetch.offset};
  std::string hash = fetch.hash;
  std::string media_type = fetch.media_type;
  if (hash.empty()) {
    const RunName run{fetch.job, fetch.attempt};
    const std::scoped_lock lock{mutex_};
    for (const auto& [slot, log] : live_) {
      if (log.run != run) continue;
      chunk.total = std::ssize(log.kept);
      cut_piece(log.kept, log.parts, chunk);
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
    media_type = ended->media_type;
  }
  if (media_type == split_log) return read_split(hash, results, std::move(chunk));
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
