#include "actors/ledger/request_table.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace gpupool {

std::uint64_t account_key(const AccountId& account) {
  constexpr std::array<unsigned char, crypto_shorthash_KEYBYTES> fixed{'g', 'p', 'u', 'p',
                                                                       'o', 'o', 'l'};
  std::array<unsigned char, crypto_shorthash_BYTES> bytes{};
  crypto_shorthash(bytes.data(), reinterpret_cast<const unsigned char*>(account.text.data()),
                   account.text.size(), fixed.data());
  std::uint64_t key = 0;
  std::memcpy(&key, bytes.data(), sizeof key);
  return key;
}

void RequestTable::insert(const RememberedRequest& request) {
  const std::uint32_t number = rows_.insert(request);
  const std::int64_t at = request.request.id.unix_ms();
  // Nearly all ids are as young as their request.
  by_time_.try_emplace(by_time_.end(), at)->second.push_back(number);
  if (in_batch_) changes_.push_back({.at = at, .forgotten = {}});
}

void RequestTable::restore(const RememberedRequest& request, Instant mark) {
  if (request.request.id.unix_ms() >= mark.ms) return insert(request);
  rows_.insert(request);
}

void RequestTable::forget(const RequestKey& key) {
  GPUPOOL_ENSURE(!by_time_.contains(key.id.unix_ms()), key.id.unix_ms());
  rows_.erase(rows_.find(key));
}

std::vector<RememberedRequest> RequestTable::in_order() const {
  std::vector<RememberedRequest> requests;
  requests.reserve(rows_.size());
  rows_.each([&requests](const RememberedRequest& one) { requests.push_back(one); });
  std::sort(requests.begin(), requests.end(),
            [](const auto& a, const auto& b) { return a.request < b.request; });
  return requests;
}

void RequestTable::begin_batch() {
  in_batch_ = true;
  rows_.begin_batch();
}

void RequestTable::keep_batch() {
  in_batch_ = false;
  changes_.clear();
  rows_.keep_batch();
}

void RequestTable::undo_batch() {
  in_batch_ = false;
  for (auto it = changes_.rbegin(); it != changes_.rend(); ++it) {
    if (!it->forgotten.empty()) {
      by_time_[it->at] = std::move(it->forgotten);
      continue;
    }
    const auto bucket = by_time_.find(it->at);
    bucket->second.pop_back();
    if (bucket->second.empty()) by_time_.erase(bucket);
  }
  changes_.clear();
  rows_.undo_batch();
}

}  // namespace gpupool
