#include "actors/ledger/batch.h"

#include <sodium.h>

#include <bit>
#include <cstring>

#include "base/ensure.h"
#include "base/pack.h"

namespace gpupool {
namespace {

static_assert(std::endian::native == std::endian::little, "batches are written as they stand");
static_assert(std::tuple_size_v<Digest> == crypto_generichash_BYTES);

constexpr std::size_t size_bytes = sizeof(std::uint32_t);
constexpr std::size_t time_bytes = sizeof(std::int64_t);

template <class Integer>
Integer integer_at(std::string_view bytes) {
  Integer value{};
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// What the record of these bytes is chained to, and the bytes.
Digest digest_after(const Digest& before, std::uint64_t sequence, std::string_view bytes) {
  crypto_generichash_state state;
  Digest digest;
  const auto add = [&state](const void* from, std::size_t size) {
    crypto_generichash_update(&state, static_cast<const unsigned char*>(from), size);
  };
  crypto_generichash_init(&state, nullptr, 0, digest.size());
  add(before.data(), before.size());
  add(&sequence, sizeof sequence);
  add(bytes.data(), bytes.size());
  crypto_generichash_final(&state, reinterpret_cast<unsigned char*>(digest.data()), digest.size());
  return digest;
}

// A frame is appended piece by piece: its size is known last.
class Frame {
 public:
  explicit Frame(std::string& bytes) : bytes_(bytes), begin_(bytes.size()) {
    bytes_.append(size_bytes, '\0');
  }
  void close(std::uint64_t sequence, Digest& chain) {
    const std::string_view content = std::string_view(bytes_).substr(begin_ + size_bytes);
    const auto size = static_cast<std::uint32_t>(content.size());
    chain = digest_after(chain, sequence, content);
    std::memcpy(bytes_.data() + begin_, &size, size_bytes);
    bytes_.append(chain.data(), chain.size());
  }

 private:
  std::string& bytes_;
  const std::size_t begin_;
};

// Takes the next frame off `bytes`: its content, and the digest that stands behind it.
struct StoredFrame {
  std::string_view content;
  Digest digest{};
};

bool take_frame(std::string_view& bytes, std::size_t least, StoredFrame& frame) {
  if (bytes.size() < size_bytes) return false;
  const std::size_t size = integer_at<std::uint32_t>(bytes);
  bytes.remove_prefix(size_bytes);
  if (size < least || bytes.size() < size + frame.digest.size()) return false;
  frame.content = bytes.substr(0, size);
  std::memcpy(frame.digest.data(), bytes.data() + size, frame.digest.size());
  bytes.remove_prefix(size + frame.digest.size());
  return true;
}

Error unreadable(std::uint64_t sequence) {
  return {.code = Errc::journal_corrupt,
          .want = static_cast<std::int64_t>(sequence),
          .detail = "record " + std::to_string(sequence) + " cannot be read"};
}

// The head of a batch whose first record should be this one.
Result<BatchHead> take_head(std::string_view& bytes, std::uint64_t expected, StoredFrame& frame) {
  if (!take_frame(bytes, 1, frame)) return unreadable(expected);
  auto head = unpack<BatchHead>(frame.content);
  if (!head || head->first == 0 || head->count == 0) return unreadable(expected);
  return head;
}

}  // namespace

Digest digest_of(std::string_view bytes) {
  Digest digest;
  crypto_generichash(reinterpret_cast<unsigned char*>(digest.data()), digest.size(),
                     reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), nullptr,
                     0);
  return digest;
}

std::string hex(std::string_view bytes) {
  std::string text(2 * bytes.size() + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                 bytes.size());
  text.pop_back();
  return text;
}

std::string encode_batch(std::span<const Record> records, const ClockStamp& stamp,
                         JournalTail& tail) {
  GPUPOOL_ENSURE(!records.empty());
  std::string bytes;
  bytes.reserve(256 + records.size() * 512);
  Frame head(bytes);
  pack_into(bytes,
            BatchHead{.first = records.front().sequence, .count = records.size(), .stamp = stamp});
  head.close(0, tail.digest);
  for (const Record& record : records) {
    Frame frame(bytes);
    bytes.append(reinterpret_cast<const char*>(&record.at.ms), time_bytes);
    pack_into(bytes, record.body);
    frame.close(record.sequence, tail.digest);
  }
  tail.sequence = records.back().sequence;
  tail.at = records.back().at;
  tail.stamp = stamp;
  return bytes;
}

Status read_batch(std::string_view bytes, JournalTail& tail,
                  const std::function<Status(const StoredRecord&)>& visit) {
  StoredFrame frame;
  const auto head = take_head(bytes, tail.sequence + 1, frame);
  if (!head) return head.error();
  // The first record answers for the head: there is nothing else to name.
  bool intact = frame.digest == digest_after(tail.digest, 0, frame.content);
  tail.digest = frame.digest;
  tail.stamp = head->stamp;
  for (std::uint64_t place = 0; place < head->count; ++place) {
    const std::uint64_t sequence = head->first + place;
    if (!take_frame(bytes, time_bytes, frame)) return unreadable(sequence);
    intact = intact && frame.digest == digest_after(tail.digest, sequence, frame.content);
    tail.digest = frame.digest;
    tail.sequence = sequence;
    tail.at = {integer_at<std::int64_t>(frame.content)};
    if (const auto visited = visit({.sequence = sequence,
                                    .at = tail.at,
                                    .body = frame.content.substr(time_bytes),
                                    .digest = frame.digest,
                                    .intact = intact});
        !visited)
      return visited;
    intact = true;
  }
  return bytes.empty() ? ok() : Status{unreadable(tail.sequence + 1)};
}

Result<JournalTail> tail_of_batch(std::string_view bytes) {
  StoredFrame frame;
  const auto head = take_head(bytes, 0, frame);
  if (!head) return head.error();
  for (std::uint64_t place = 0; place < head->count; ++place)
    if (!take_frame(bytes, time_bytes, frame)) return unreadable(0);
  return JournalTail{.sequence = head->first + head->count - 1,
                     .at = {integer_at<std::int64_t>(frame.content)},
                     .stamp = head->stamp,
                     .digest = frame.digest};
}

Result<Record> record_of(const StoredRecord& stored) {
  const std::string name = "record " + std::to_string(stored.sequence);
  if (!stored.intact)
    return Error{.code = Errc::journal_corrupt,
                 .want = static_cast<std::int64_t>(stored.sequence),
                 .detail = name + " is not as it was written"};
  auto body = unpack<RecordBody>(stored.body);
  if (!body)
    return Error{.code = Errc::unsupported,
                 .detail = name + " was written by another version of gpupool"};
  return Record{.sequence = stored.sequence, .at = stored.at, .body = std::move(*body)};
}

}  // namespace gpupool
