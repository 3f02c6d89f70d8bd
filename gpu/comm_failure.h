#pragma once
// How ranks notice that another one is gone, and how that ends them: what of it needs no device.
// Nothing here reads a clock. Time is what the pauses between two looks add up to, so that no limit
// is reached too early.

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/time.h"

namespace gpupool {

inline Error ranks_failed(const std::string& what) {
  return {.code = Errc::device_failed, .detail = "the ranks of the picture: " + what};
}

enum class Answer { under_way, over };

// Asks until it is over, or the pauses have taken `limit`. Most answers come within microseconds:
// the first pauses are of 0 ms, which is to let others run.
template <class Ask, class Pause>
Answer ask_until_over(const Ask& ask, const Pause& pause, Duration limit) {
  constexpr int short_pauses = 1000;
  for (int i = 0; i < short_pauses; ++i) {
    if (ask() == Answer::over) return Answer::over;
    pause(milliseconds(0));
  }
  for (Duration waited{}; waited < limit; waited = waited + milliseconds(1)) {
    if (ask() == Answer::over) return Answer::over;
    pause(milliseconds(1));
  }
  return Answer::under_way;
}

// Notices an operation that does not end. Operations end in the order of their starts, and each
// leaves a mark behind it that can be asked about. Two marks will do: one is waited for, the other
// moves on with the newest operation until it is its turn.
class Watch {
 public:
  explicit Watch(Duration limit) : limit_(limit) {}

  // Which mark the operation that was just started leaves.
  std::size_t started() {
    is_newer_ = under_way_;
    if (!std::exchange(under_way_, true)) waited_ = {};
    return is_newer_ ? 1 - watched_ : watched_;
  }
  // The mark to ask about.
  std::optional<std::size_t> watched() const {
    return under_way_ ? std::optional(watched_) : std::nullopt;
  }
  // What came of it, so long after the last look. False: it takes longer than the limit.
  bool look(Answer answer, Duration since) {
    if (answer == Answer::under_way) {
      waited_ = waited_ + since;
      return waited_ <= limit_;
    }
    waited_ = {};
    under_way_ = is_newer_;
    if (std::exchange(is_newer_, false)) watched_ = 1 - watched_;
    return true;
  }

 private:
  const Duration limit_;
  std::size_t watched_ = 0;
  bool under_way_ = false;
  bool is_newer_ = false;  // than the watched one: there is another
  Duration waited_{};
};

// The first failure of some ranks, which ends them by what was given for that, once. Any thread.
class Ending {
 public:
  explicit Ending(std::function<void()> end) : end_(std::move(end)) {}

  void fail(const Error& why) noexcept {
    attempt([&] { return Status(why); });
  }
  // Does what must not meet the end, unless that has come already. Its failure is the end.
  template <class Work>
  void attempt(const Work& work) {
    const std::lock_guard lock(mutex_);
    if (failure_) return;
    const Status done = work();
    if (done) return;
    failure_ = done.error();
    end_();
  }
  Status status() const {
    const std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    return ok();
  }

 private:
  mutable std::mutex mutex_;
  std::optional<Error> failure_;
  const std::function<void()> end_;
};

}  // namespace gpupool
