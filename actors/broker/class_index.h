#pragma once
// ClassIndex: values by a class, smallest class first, where a class is a duration in whole seconds
// and a rank among equal durations. Finding a class is an array access and a search among the few
// groups of ranks of its seconds; finding the first one that is not empty, a scan of a bitmap of
// bitmaps. A class that was there stays, empty, so that nothing is allocated when it is used again;
// there are as many as (durations x groups of ranks) that were ever seen. Plain value, no thread of
// its own.

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace gpupool {

// The smaller one comes first. A rank has 58 bits.
struct WaitClass {
  std::uint64_t seconds = 0;
  std::uint64_t rank = 0;
  friend auto operator<=>(const WaitClass&, const WaitClass&) = default;
};

template <class Value>
class ClassIndex {
 public:
  // The value of this class, made if it is not there.
  Value& at(const WaitClass& key) {
    const std::size_t number = bucket_of(key.seconds);
    if (number >= buckets_.size()) buckets_.resize(number + 1);
    auto& groups = buckets_[number].groups;
    const std::uint64_t of = group_of(key);
    auto group = std::find_if(groups.begin(), groups.end(),
                              [of](const Group& one) { return one.number >= of; });
    if (group == groups.end() || group->number != of)
      group = groups.insert(group, Group{.number = of, .values = {}});
    return group->values[key.rank % group_ranks];
  }

  // Says that the value of this class, which is there, is not empty any more, or became so.
  void filled(const WaitClass& key) {
    const std::size_t number = bucket_of(key.seconds);
    if (++buckets_[number].filled == 1) mark(number);
  }
  void emptied(const WaitClass& key) {
    const std::size_t number = bucket_of(key.seconds);
    if (--buckets_[number].filled == 0) unmark(number);
  }

  // The first class that is not empty, and so on; until `visit` says false.
  template <class Visit>
  void each(const Visit& visit) const {
    for (std::size_t top = 0; top < summary_.size(); ++top)
      for (std::uint64_t words = summary_[top]; words != 0; words &= words - 1) {
        const std::size_t word = top * 64 + static_cast<std::size_t>(std::countr_zero(words));
        for (std::uint64_t bits = bitmap_[word]; bits != 0; bits &= bits - 1)
          if (!visit_bucket(word * 64 + static_cast<std::size_t>(std::countr_zero(bits)), visit))
            return;
      }
  }

 private:
  // Neighbouring ranks are found without a search: the quota bands of a tier, in the queue.
  static constexpr std::uint64_t group_ranks = 8;
  struct Group {
    std::uint64_t number = 0;
    std::array<Value, group_ranks> values;
  };
  struct Bucket {
    std::vector<Group> groups;
    std::size_t filled = 0;  // of them, not empty
  };

  // A bucket a second up to 18 hours, and then one of 64 seconds.
  static constexpr std::uint64_t exact = 65'536;
  static std::size_t bucket_of(std::uint64_t seconds) {
    return seconds < exact ? seconds : exact + (seconds - exact) / 64;
  }
  static std::uint64_t group_of(const WaitClass& key) {
    return ((key.seconds < exact ? 0 : key.seconds % 64) << 58U | key.rank) / group_ranks;
  }

  template <class Visit>
  bool visit_bucket(std::size_t number, const Visit& visit) const {
    for (const Group& group : buckets_[number].groups)
      for (const Value& one : group.values)
        if (!one.empty() && !visit(one)) return false;
    return true;
  }

  void mark(std::size_t number) {
    const std::size_t word = number / 64;
    if (word >= bitmap_.size()) bitmap_.resize(word + 1);
    if (word / 64 >= summary_.size()) summary_.resize(word / 64 + 1);
    bitmap_[word] |= std::uint64_t{1} << number % 64;
    summary_[word / 64] |= std::uint64_t{1} << word % 64;
  }
  void unmark(std::size_t number) {
    const std::size_t word = number / 64;
    bitmap_[word] &= ~(std::uint64_t{1} << number % 64);
    if (bitmap_[word] == 0) summary_[word / 64] &= ~(std::uint64_t{1} << word % 64);
  }

  std::vector<Bucket> buckets_;
  std::vector<std::uint64_t> bitmap_;   // a bit a bucket: something in it is not empty
  std::vector<std::uint64_t> summary_;  // a bit a word of the bitmap
};

}  // namespace gpupool
